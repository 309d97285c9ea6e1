# xrayflow from XSPEC's prompt:
#
#     XSPEC12> source [exec xrayflow tcl]
#     XSPEC12> xrayflow                        fits the loaded data with the loaded model
#     XSPEC12> xrayflow source.pha             fits a spectrum with xrayflow's default model
#     XSPEC12> xrayflow source.pha --model TBabs*powerlaw --out result
#
# Options are those of "xrayflow fit". Then the fit and its draws are loaded: error, flux err and tclout use the chain.

proc xrayflow {args} {
    set out xrayflow-result
    set place [lsearch -exact $args --out]
    if {$place >= 0} {
        set out [lindex $args [expr {$place + 1}]]
    } else {
        lappend args --out $out
    }
    set session ""
    if {[llength $args] == 0 || [string match -* [lindex $args 0]]} {
        # no spectrum was named: what XSPEC has loaded
        set session xrayflow-session-[pid].xcm
        file delete $session
        save all $session
        set args [linsert $args 0 --xcm $session]
    }
    # an old answer must not be taken for a new one
    foreach name {summary.json chain.fits model.xcm} {
        file delete [file join $out $name]
    }
    set failed [catch {exec xrayflow fit {*}$args >@ stdout 2>@ stderr} message options]
    if {$session ne ""} {
        file delete $session
    }
    if {$failed} {
        set code [dict get $options -errorcode]
        if {[lindex $code 0] ne "CHILDSTATUS"} {
            puts "xrayflow: cannot be run ($message); is it on the PATH?"
            return
        }
        if {[lindex $code 2] != 3} {
            return
        }
        puts "xrayflow: the verdict is do-not-trust; the fit is loaded all the same"
    }
    foreach name {chain.fits model.xcm} {
        if {![file exists [file join $out $name]]} {
            puts "xrayflow: no $name in $out; nothing is loaded"
            return
        }
    }
    chain clear
    @[file join $out model.xcm]
    chain load [file join $out chain.fits]
}
