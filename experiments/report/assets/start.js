// The page, part by part.
addFacts();
addThemeSwitch(document.getElementById("switches"));
if (pairs.length === 1 && isDone(pairs[0])) addTiles();
if (pairs.length > 1 || (pairs.length && !isDone(pairs[0]))) addTable();
if (settings.length > 1 || methods.length > 1) addMap();
if (pairs.length > 1) addSignificance();
addCurves();
addFront();
addMatrices();
addForgetting();
addCosts();
addTimeLine();
content.sweeps.forEach(addSweep);
add(contents, "a", { href: "#reproduce" }, "Reproduce");
addChoice();
document.documentElement.dataset.ready = "true";
