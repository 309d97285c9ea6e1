(function () {
  "use strict";
  var figures = document.getElementById("spectrum-json").textContent;
  var place = document.getElementById("spectrum");
  place.textContent = "";
  var options = {
    responsive: true,
    displaylogo: false,
    // by name: plotly's own list has one that sends the data to a server
    modeBarButtons: [["toImage"], ["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
    toImageButtonOptions: { format: "svg", filename: "spectrum" },
  };

  // the residuals and the scale that are chosen stay so on another axis
  function show(number) {
    var figure = JSON.parse(figures)[number]; // anew: plotly writes into what it is given
    var layout = figure.layout;
    if (!place.data) {
      return Plotly.newPlot(place, figure.data, layout, options);
    }
    var residuals = place.data.filter(function (trace) { return trace.yaxis === "y2"; });
    var kind = residuals.findIndex(function (trace) { return trace.visible === true; });
    var chosen = layout.updatemenus[0].buttons[kind].args;
    layout.updatemenus[0].active = kind;
    if (place.layout.yaxis.type === "linear") {
      layout.updatemenus[1].active = 1;
      layout.yaxis.type = "linear";
      delete layout.yaxis.range;
    }
    return Plotly.react(place, figure.data, layout, options).then(function () {
      return Plotly.update(place, chosen[0], chosen[1]);
    });
  }

  var buttons = document.createElement("div");
  buttons.className = "axes";
  buttons.setAttribute("role", "group");
  buttons.setAttribute("aria-label", "Axis of the spectrum");
  JSON.parse(figures).forEach(function (figure, number) {
    var button = document.createElement("button");
    button.type = "button";
    button.textContent = figure.label;
    button.setAttribute("aria-pressed", number === 0);
    button.addEventListener("click", function () {
      Array.from(buttons.children).forEach(function (one) {
        one.setAttribute("aria-pressed", one === button);
      });
      show(number);
    });
    buttons.appendChild(button);
  });
  place.parentNode.insertBefore(buttons, place);
  show(0);
})();
