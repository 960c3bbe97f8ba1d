// Reads queries (a JSON text a line), binds each and writes a list of what is wrong with it.
const fs = require("fs"), path = require("path"), vm = require("vm");
// The package is made for browsers: its files put their names into the global scope.
for (const file of ["bridge.min.js", "Kusto.Language.Bridge.min.js"]) {
  vm.runInThisContext(fs.readFileSync(path.join(process.argv[2], file), "utf8"), { filename: file });
}
for (const line of fs.readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  const text = JSON.parse(line);
  const found = Kusto.Language.KustoCode.ParseAndAnalyze(text).GetDiagnostics();
  const told = [];
  for (let at = 0; at < found.Count; at++) {
    const one = found.getItem(at);
    told.push(`${one.Severity}: ${one.Message} (${text.substr(one.Start, one.Length)})`);
  }
  console.log(JSON.stringify(told));
}
