// Graphile Worker's process: `install DATABASE_URL`, `drain DATABASE_URL PRESET JOBS` or `latency DATABASE_URL PRESET SINK_URL`.
// Tells on standard output what the Python peers' workers tell: `word nanoseconds`, of the same monotonic clock.

import http from "node:http";
import { Logger, run, runMigrations } from "graphile-worker";

const [task, connectionString, preset, argument] = process.argv.slice(2);

// A worker whose benchmark was killed ends by itself.
const LIFETIME_MS = 600_000;
setTimeout(() => process.exit(1), LIFETIME_MS).unref();

// A line for each job would be most of the work. Errors stay.
const logger = new Logger(() => (level, message) => {
  if (level === "error") process.stderr.write(`${message}\n`);
});

function tell(word) {
  process.stdout.write(`${word} ${process.hrtime.bigint()}\n`);
}

function counting(jobs) {
  let handled = 0;
  return () => {
    handled += 1;
    if (handled === 1) tell("first");
    if (handled === jobs) tell("last");
  };
}

// One kept-alive connection through node:http: 0.6 ms sooner than fetch.
function posting(sinkUrl) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const options = { agent, method: "POST", headers: { "content-type": "application/json", "content-length": 2 } };
  return ({ key }) =>
    new Promise((resolve, reject) => {
      const request = http.request(`${sinkUrl}/deliver/${key}`, options, (answer) => {
        answer.resume();
        answer.on("end", resolve);
      });
      request.on("error", reject);
      request.end("{}");
    });
}

if (task === "install") {
  await runMigrations({ connectionString, logger });
} else {
  const deliver = task === "drain" ? counting(Number(argument)) : posting(argument);
  const worker = { connectionString, ...JSON.parse(preset) };
  const runner = await run({ logger, preset: { worker }, taskList: { deliver } });
  if (task === "latency") tell("ready");
  await runner.promise;
}
