(function () {
  "use strict";
  var figure = JSON.parse(document.getElementById("spectrum-json").textContent);
  var place = document.getElementById("spectrum");
  place.textContent = "";
  var options = {
    responsive: true,
    displaylogo: false,
    // by name: plotly's own list has one that sends the data to a server
    modeBarButtons: [["toImage"], ["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
    toImageButtonOptions: { format: "svg", filename: "spectrum" },
  };
  Plotly.newPlot(place, figure.data, figure.layout, options);
})();
