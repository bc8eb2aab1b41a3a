// Makes the keystore files of ethers and web3.js beside it. Run in a folder where
// npm install ethers@6.17.0 web3-eth-accounts@4.3.1 was done:
//   node …/identity/testdata/make.mjs
import { createRequire } from "node:module";
import { writeFileSync } from "node:fs";

const require = createRequire(process.cwd() + "/");
const { Wallet, HDNodeWallet, encryptKeystoreJson } = require("ethers");
const { encrypt } = require("web3-eth-accounts");

const key = "0x4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318";
const pass = "correct horse";
const light = { scrypt: { N: 1024, r: 8, p: 1 } };
const write = (name, json) => writeFileSync(new URL(name, import.meta.url), json);

write("ethers.json", await new Wallet(key).encrypt(pass));
// A ligature and letters that are composed: ethers brings the passphrase to NFKC.
const account = { address: new Wallet(key).address, privateKey: key };
write("ethers-unicode.json", await encryptKeystoreJson(account, "\ufb01ance\u0301 \u212b", light));
// With a mnemonic, ethers adds a section of its own.
const hd = HDNodeWallet.fromPhrase("test test test test test test test test test test test junk");
const { entropy, wordlist } = hd.mnemonic;
write("ethers-mnemonic.json", await encryptKeystoreJson({
  address: hd.address, privateKey: hd.privateKey,
  mnemonic: { path: hd.path, locale: wordlist.locale, entropy },
}, pass, light));
for (const kdf of ["scrypt", "pbkdf2"]) {
  write(`web3js-${kdf}.json`, JSON.stringify(await encrypt(key, pass, { kdf })));
}
