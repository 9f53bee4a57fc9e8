// A run of the fault model: node test/faults/run.mjs [--seed S] [--connections N] [--per-fault N] [--from N] [--runs N]
// `from`: so many faults of the schedule are left out. Each run is another seed's, counted up from the first. Exit status: 0 if every connection was kept that the rules keep.
import { parseArgs } from "node:util";
import { runnerImport } from "vite";

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: String(Math.floor(Math.random() * 2 ** 31)) },
    connections: { type: "string", default: "10000" },
    "per-fault": { type: "string", default: "100" },
    from: { type: "string", default: "0" },
    runs: { type: "string", default: "1" },
  },
});
const number = (name) => {
  if (/^\d+$/.test(values[name])) return Number(values[name]);
  console.error(`--${name} is ${values[name]}; a whole number is needed`);
  process.exit(2);
};
const [seed, connections, connectionsPerFault] = ["seed", "connections", "per-fault"].map(number);
const [from, runs] = ["from", "runs"].map(number);

const { module } = await runnerImport(new URL("./model/run.ts", import.meta.url).pathname, { logLevel: "error" });
let failed = 0;
for (let i = 0; i < runs; i++) {
  console.log(`seed ${seed + i}`);
  try {
    const summary = await module.runModel({ seed: seed + i, connections, connectionsPerFault, from, say: console.log });
    const { wrong, memory, ...rest } = summary;
    for (const each of wrong) console.error(each);
    failed += wrong.length;
    const [least, most] = [Math.min(...memory), Math.max(...memory)].map(Math.round);
    console.log(JSON.stringify({ ...rest, wrong: wrong.length, memory: `${least} to ${most} MiB` }));
  } catch (error) {
    console.error(error);
    failed++;
  }
}
process.exit(failed === 0 ? 0 : 1);
