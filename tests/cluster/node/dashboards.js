// Checks dashboards by Grafana's types: dashboards.js FILE... The last line says how many panels there were.
const fs = require('node:fs');
const Ajv = require('ajv');

const ajv = new Ajv({ allErrors: true, strict: false });
const schemas = Object.entries(require('./node_modules/.schema.json'));
const valid = Object.fromEntries(schemas.map(([type, schema]) => [type, ajv.compile(schema)]));

let wrong = 0;
function check(type, value, where) {
  if (valid[type](value)) return;
  for (const error of valid[type].errors) {
    wrong += 1;
    console.log(`${where}${error.instancePath}: ${error.message} ${JSON.stringify(error.params)}`);
  }
}

// What a panel's options and the custom part of its fields must be.
const panels = {
  row: [],
  timeseries: ['TimeSeries', 'TimeSeriesLine'],
  stat: ['Stat'],
  table: ['Table', 'TableColumn'],
  bargauge: ['BarGauge'],
};
let count = 0;
for (const file of process.argv.slice(2)) {
  const board = JSON.parse(fs.readFileSync(file, 'utf8'));
  check('Board', board, file);
  for (const panel of board.panels) {
    count += 1;
    const where = `${file}: ${panel.title}: `;
    const types = panels[panel.type];
    if (!types) {
      wrong += 1;
      console.log(`${where}no type for panels of this kind: ${panel.type}`);
      continue;
    }
    if (types[0]) check(types[0], panel.options, `${where}options`);
    if (types[1]) check(types[1], panel.fieldConfig.defaults.custom, `${where}custom`);
    for (const target of panel.targets ?? []) check('Query', target, `${where}${target.refId}`);
  }
}
console.log(`${count} panels`);
process.exitCode = wrong ? 1 : 0;
