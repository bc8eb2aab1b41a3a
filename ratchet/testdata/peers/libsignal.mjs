// What @signalapp/libsignal-client costs through its Node binding, as an application uses it: stores in memory, the session's record
// serialised by the library with every message. Prints microseconds of processor time, medians of several rounds.
import * as signal from '@signalapp/libsignal-client';
import { randomBytes } from 'node:crypto';

class Sessions extends signal.SessionStore {
	rows = new Map();
	async saveSession(name, record) { this.rows.set(name.toString(), record); }
	async getSession(name) { return this.rows.get(name.toString()) ?? null; }
	async getExistingSessions(names) { return names.map((n) => this.rows.get(n.toString())); }
}
class Identities extends signal.IdentityKeyStore {
	key = signal.PrivateKey.generate();
	seen = new Map();
	async getIdentityKey() { return this.key; }
	async getLocalRegistrationId() { return 5; }
	async saveIdentity(name, key) { this.seen.set(name.toString(), key); return 0; }
	async isTrustedIdentity() { return true; }
	async getIdentity(name) { return this.seen.get(name.toString()) ?? null; }
}
class PreKeys extends signal.PreKeyStore {
	rows = new Map();
	async savePreKey(id, r) { this.rows.set(id, r); }
	async getPreKey(id) { return this.rows.get(id); }
	async removePreKey(id) { this.rows.delete(id); }
}
class SignedPreKeys extends signal.SignedPreKeyStore {
	rows = new Map();
	async saveSignedPreKey(id, r) { this.rows.set(id, r); }
	async getSignedPreKey(id) { return this.rows.get(id); }
}
class KyberPreKeys extends signal.KyberPreKeyStore {
	rows = new Map();
	async saveKyberPreKey(id, r) { this.rows.set(id, r); }
	async getKyberPreKey(id) { return this.rows.get(id); }
	async markKyberPreKeyUsed() {}
}

const device = (name) => ({
	address: signal.ProtocolAddress.new(name, 1), sessions: new Sessions(), identities: new Identities(),
	prekeys: new PreKeys(), signed: new SignedPreKeys(), kyber: new KyberPreKeys(), next: 1,
});

async function bundle(d) {
	const id = d.next++, key = d.identities.key;
	const one = signal.PrivateKey.generate(), spk = signal.PrivateKey.generate(), kem = signal.KEMKeyPair.generate();
	const spkSig = key.sign(spk.getPublicKey().serialize()), kemSig = key.sign(kem.getPublicKey().serialize());
	await d.prekeys.savePreKey(id, signal.PreKeyRecord.new(id, one.getPublicKey(), one));
	await d.signed.saveSignedPreKey(id, signal.SignedPreKeyRecord.new(id, Date.now(), spk.getPublicKey(), spk, spkSig));
	await d.kyber.saveKyberPreKey(id, signal.KyberPreKeyRecord.new(id, Date.now(), kem, kemSig));
	return signal.PreKeyBundle.new(5, 1, id, one.getPublicKey(), id, spk.getPublicKey(), spkSig, key.getPublicKey(), id, kem.getPublicKey(), kemSig);
}

const encrypt = (from, to, text) => signal.signalEncrypt(text, to.address, from.address, from.sessions, from.identities);
async function decrypt(to, from, m) {
	if (m.type() === signal.CiphertextMessageType.PreKey) {
		return signal.signalDecryptPreKey(signal.PreKeySignalMessage.deserialize(m.serialize()), from.address, to.address, to.sessions, to.identities, to.prekeys, to.signed, to.kyber);
	}
	return signal.signalDecrypt(signal.SignalMessage.deserialize(m.serialize()), from.address, to.address, to.sessions, to.identities);
}

async function pair() {
	const a = device('9d0652a3-dcc3-4d11-975f-74d61598733f'), b = device('e80f7bbe-5b94-471e-bd8c-2173654ea3d1');
	await signal.processPreKeyBundle(await bundle(b), b.address, a.address, a.sessions, a.identities);
	await decrypt(b, a, await encrypt(a, b, randomBytes(5)));
	for (let i = 0; i < 3; i++) {
		await decrypt(a, b, await encrypt(b, a, randomBytes(5)));
		await decrypt(b, a, await encrypt(a, b, randomBytes(5)));
	}
	return [a, b];
}

// timed returns microseconds of processor time for each of n things.
async function timed(n, work) {
	const start = process.cpuUsage();
	await work();
	const used = process.cpuUsage(start);
	return (used.user + used.system) / n;
}

const text = randomBytes(1024), rounds = 9, out = {};
const note = (what, us) => (out[what] ??= []).push(us);
for (let r = 0; r < rounds; r++) {
	{
		const b = device('e80f7bbe-5b94-471e-bd8c-2173654ea3d1'), bundles = [];
		for (let i = 0; i < 20; i++) bundles.push(await bundle(b));
		note('setup', await timed(20, async () => {
			for (const p of bundles) {
				const a = device('9d0652a3-dcc3-4d11-975f-74d61598733f');
				await signal.processPreKeyBundle(p, b.address, a.address, a.sessions, a.identities);
				b.sessions.rows.clear();
				await decrypt(b, a, await encrypt(a, b, text));
			}
		}));
	}
	const n = 500;
	{
		const [a, b] = await pair(), sent = [];
		note('encrypt', await timed(n, async () => { for (let i = 0; i < n; i++) sent.push(await encrypt(a, b, text)); }));
		note('decrypt', await timed(n, async () => { for (const m of sent) await decrypt(b, a, m); }));
	}
	{
		let [a, b] = await pair();
		note('turn', await timed(n, async () => { for (let i = 0; i < n; i++) { await decrypt(a, b, await encrypt(b, a, text)); [a, b] = [b, a]; } }));
	}
	{
		const [a, b] = await pair(), sent = [];
		for (let i = 0; i < 1000; i++) sent.push(await encrypt(a, b, randomBytes(1)));
		await decrypt(b, a, sent.pop());
		sent.reverse();
		note('reversed', await timed(sent.length, async () => { for (const m of sent) await decrypt(b, a, m); }));
	}
}
for (const [what, all] of Object.entries(out)) {
	all.sort((x, y) => x - y);
	console.log(`libsignal ${what} ${all[(all.length - 1) / 2].toFixed(1)}`);
}
