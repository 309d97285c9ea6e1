"""XSPEC's names of components: how it reads an abbreviation, and what to take for a component that we lack.

XSPEC takes the first name of its list that begins with what was typed, in any case; two letters are the least. The list
is in the order of its file `model.dat`; the components of a local model package stand behind it. So `co` is `compbb`,
not `constant`. We read names alike, and refuse where XSPEC's choice is a component that we do not have.

Source: the manager/model.dat and mixmodel.dat of HEASoft 6.35.1; XSPEC's public source, XSModelFunction::fullMatch.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from xrayflow.errors import ModelError

SHORTEST = 2
"""The shortest abbreviation [letters]."""
SHOWN = 200
"""The longest piece of the user's text in an error line [characters]."""

_XSPEC = """
agauss agnsed agnslim apec bapec bcempow bcheb6 bcie bcoolflow bcph bequil bexpcheb6 bgadem bgnei bnei bsnapec btapec
bbody bbodyrad bexrav bexriv bknpower bkn2pow bmc bnpshock bpshock bremss brnei bsedov bvapec bvcempow bvcheb6 bvcie
bvcoolflow bvcph bvequil bvexpcheb6 bvgadem bvgnei bvnei bvnpshock bvpshock bvrnei bvsedov bvtapec bvvapec bvvcie
bvvgadem bvvgnei bvvnei bvvnpshock bvvpshock bvvrnei bvvsedov bvvtapec bvvwdem bvwdem bwdem c6mekl c6pmekl c6pvmkl
c6vmekl carbatm cemekl cempow cevmkl cflow cheb6 cie compbb compmag compLS compPS compST comptb compth compTT coolflow
cph cplinear cutoffpl disk diskir diskbb diskline diskm disko diskpbb diskpn eebremss eplogpar eqpair eqtherm equil
expdec expcheb6 ezdiskbb feklor gaussian gadem gnei grad grbcomp grbjet grbm hatm jet kerrbb kerrd kerrdisk kyconv
kyrline laor laor2 logpar lorentz meka mekal mkcflow nei nlapec npshock nsa nsagrav nsatmos nsmax nsmaxg nsx nteea
nthComp optxagn optxagnf pegpwrlw pexmon pexrav pexriv plcabs powerlaw posm pshock qsosed raymond redge refsch rgsext
rgsxsrc rnei sedov sirf slimbh smaug snapec srcut sresc ssa sssed step tapec vagauss vapec vbremss vcempow vcheb6 vcie
vcoolflow vcph vexpcheb6 vequil vgadem vgaussian vgnei vlorentz vmeka vmekal vmcflow vnei vnpshock voigt vpshock
vraymond vrnei vsedov vtapec vvapec vvcie vvgadem vvgnei vvnei vvnpshock vvoigt vvpshock vvrnei vvsedov vvtapec vvwdem
vwdem wdem zagauss zbbody zbknpower zbremss zcutoffpl zfeklor zgauss zkerrbb zlogpar zlorentz zpowerlw zvlorentz zvoigt
zvvoigt absori acisabs constant cabs cyclabs dust edge expabs expfac gabs heilin highecut hrefl ismabs ismdust logconst
log10con lorabs lyman notch olivineabs pcfabs phabs plabs polconst pollin polpow pwab redden smedge spexpcut spline
SSS_ice swind1 TBabs TBfeo TBgas TBgrain TBvarabs TBpcf TBrel uvred varabs vgabs vlorabs voigtabs vphabs vvoigtabs wabs
wndabs xion xscat zbabs zdust zedge zgabs zhighect zigm zlorabs zpcfabs zphabs zvlorabs zvoigtabs zvvoigtabs zxipab
zxipcf zredden zsmdust zTBabs zvagauss zvarabs zvfeabs zvgabs zvgaussian zvphabs zwabs zwndabs cflux clumin cglumin
cpflux gsmooth ireflect kdblur kdblur2 kerrconv lsmooth partcov rdblur reflect rfxconv simpl thcomp vashift vmshift
xilconv zashift zmshift pileup bwcycl ascac projct xmmpsf suzpsf recorn polrot crossarf clmass nfwmass monomass
"""
XSPEC = tuple(_XSPEC.split())
"""XSPEC's components in the order in which it looks through them."""

_LOCAL = """
atable mtable etable relxill relxillCp relxilllp relxilllpCp relxillNS relline relline_lp relconv relconv_lp xillver
xillverCp xillverNS reflionx borus02 mytorus tbnew warmabs
"""
LOCAL = tuple(_LOCAL.split())
"""Table models and well-known local models, which stand behind XSPEC's own."""

TABLES = "table models are read from files"
REDSHIFT = "{0} is the same at redshift 0"
SHAPE = "its shape is that of {0}; only the norm differs"
INSTEAD = {
    "wabs": "its cross sections and abundances are obsolete; take phabs with abundances angr (--abund angr), or TBabs",
    "zwabs": "it is wabs at a redshift, with obsolete cross sections and abundances; phabs and TBabs have redshift 0",
    "atable": TABLES,
    "mtable": TABLES,
    "etable": TABLES,
    "zTBabs": REDSHIFT.format("TBabs"),
    "zphabs": REDSHIFT.format("phabs"),
    "zvphabs": REDSHIFT.format("vphabs"),
    "TBfeo": "TBabs is the same at O = Fe = 1 and redshift 0",
    "TBgrain": "TBabs is the same with the grains at their defaults",
    "TBvarabs": "TBabs is the same with abundances of 1, the grains at their defaults and redshift 0",
    "zpcfabs": REDSHIFT.format("pcfabs"),
    "zedge": "edge with edgeE / (1 + z) is the same",
    "zgabs": "gabs with LineE, Sigma and Strength / (1 + z) is the same",
    "zhighect": "highecut with cutoffE and foldE / (1 + z) is the same",
    "logconst": "constant with factor = exp(logfact) is the same",
    "log10con": "constant with factor = 10^log10fac is the same",
    "expdec": "cutoffpl with PhoIndex = 0 and HighECut = 1 / factor is the same",
    "diskpbb": "diskbb is its case p = 0.75",
    "zpowerlw": SHAPE.format("powerlaw"),
    "pegpwrlw": SHAPE.format("powerlaw"),
    "zcutoffpl": SHAPE.format("cutoffpl with HighECut / (1 + z)"),
    "zbbody": SHAPE.format("bbody with kT / (1 + z)"),
    "zgauss": SHAPE.format("gaussian with LineE and Sigma / (1 + z)"),
}
"""What to take for a component that we lack; nothing here is another physical model without a word."""


def full_name(typed: str, ours: Iterable[str]) -> str:
    """The component that XSPEC takes for a name or an abbreviation.

    Args:
        typed: In any case.
        ours: The components that there are.

    Returns:
        One of `ours`.

    Raises:
        ModelError: XSPEC would not take it, or takes a component that we lack.

    >>> full_name("ga", ["gabs", "gaussian"])
    'gaussian'
    """
    known = tuple(ours)
    lower = typed.lower()
    if len(typed) < SHORTEST:
        raise ModelError(
            f"component '{shown(typed)}': as in XSPEC, write at least {SHORTEST} letters of a component's name"
        )
    # our own that XSPEC lacks stand where its local models do: behind its own
    names = (*XSPEC, *(name for name in known if name not in XSPEC), *LOCAL)
    found = next((name for name in names if name.lower().startswith(lower)), None)
    if found is None:
        raise ModelError(f"unknown component '{shown(typed)}'{_offer(lower[:SHOWN], known, names)}")
    if found in known:
        return found
    if found.lower() != lower:
        others = [name for name in known if name.lower().startswith(lower)]
        more = f"; write more of {' or '.join(others)} if you mean that" if others else ""
        raise ModelError(f"'{typed}' is XSPEC's {found}: {lacking(found)}{more}")
    raise ModelError(f"{found}: {lacking(found)}")


def lacking(name: str) -> str:
    """That we lack a component, and what to take for it.

    Args:
        name: In XSPEC's spelling.
    """
    return f"not in xrayflow; {INSTEAD[name]}" if name in INSTEAD else "not in xrayflow yet"


def shown(text: str) -> str:
    """A piece of the user's text for an error line, which must be one line and not a long one.

    Args:
        text: As typed.

    >>> shown("a\\nb" + 300 * "c")[:10]
    'a\\\\nbcccccc'
    """
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")[1:-1]


def _offer(lower: str, known: tuple[str, ...], names: tuple[str, ...]) -> str:
    """The nearest name: of XSPEC's too, or a model that we have would be offered for another that we lack."""

    def likeness(name: str) -> tuple[float, bool]:
        return difflib.SequenceMatcher(None, lower, name.lower()).ratio(), name in known

    best = max(names, key=likeness)
    if likeness(best)[0] < 0.5:
        return f"; known: {', '.join(known)}"
    return f"; did you mean '{best}'?" + ("" if best in known else f" That is {lacking(best)}")
