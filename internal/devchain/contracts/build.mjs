// Compiles the contracts of this folder into artifacts/*.json. Needed only
// after a change to a .sol file; the artefacts are checked in.
//
//     npm install --prefix /tmp/solc solc@0.8.30
//     SOLC=/tmp/solc/node_modules/solc go generate ./internal/devchain
//
// The output depends on the sources and the compiler alone: no metadata hash is
// appended to the code.
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const require = createRequire(import.meta.url);
const solc = require(process.env.SOLC ?? 'solc');
if (!solc.version().startsWith('0.8.30+')) {
  throw new Error(`solc 0.8.30 is wanted, this is ${solc.version()}`);
}

const sources = {};
for (const file of readdirSync(here).filter((f) => f.endsWith('.sol')).sort()) {
  sources[file] = { content: readFileSync(join(here, file), 'utf8') };
}
const output = JSON.parse(solc.compile(JSON.stringify({
  language: 'Solidity',
  sources,
  settings: {
    evmVersion: 'cancun',
    viaIR: true, // a Safe's functions have more arguments than the stack has room for
    optimizer: { enabled: true, runs: 200 },
    metadata: { bytecodeHash: 'none', appendCBOR: false },
    outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object', 'evm.deployedBytecode.object'] } },
  },
})));
for (const e of output.errors ?? []) {
  console.error(e.formattedMessage);
}
if ((output.errors ?? []).some((e) => e.severity === 'error')) {
  process.exit(1);
}

// All sources count, because contracts import one another.
const hash = createHash('sha256');
for (const [file, { content }] of Object.entries(sources)) {
  hash.update(`${file}\n${Buffer.byteLength(content)}\n${content}`);
}
const sourceHash = hash.digest('hex');

mkdirSync(join(here, 'artifacts'), { recursive: true });
for (const file of Object.keys(sources)) {
  for (const [name, c] of Object.entries(output.contracts[file] ?? {})) {
    if (c.evm.bytecode.object === '') {
      continue; // an interface
    }
    writeFileSync(join(here, 'artifacts', `${name}.json`), JSON.stringify({
      contractName: name,
      sourceHash,
      compiler: `solc ${solc.version()}`,
      abi: c.abi,
      bytecode: '0x' + c.evm.bytecode.object,
      deployedBytecode: '0x' + c.evm.deployedBytecode.object,
    }, null, 1) + '\n');
  }
}
