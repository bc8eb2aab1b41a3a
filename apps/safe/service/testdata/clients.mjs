// Real clients against real rooms: @safe-global/api-kit, @safe-global/protocol-kit
// and Foundry's cast. clients_test.go starts it, with what it works on as JSON in
// the environment variable WORLD. Every failure ends it with an error.
//
// cast 1.7.1 has no command that speaks to a transaction service. It does here
// what it can: it asks the Safe for the hash, and signs; the signature is posted
// with api-kit.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createRequire } from 'node:module'

const world = JSON.parse(process.env.WORLD)
const require = createRequire(world.modules + '/clients.js')
const { default: SafeApiKit } = require('@safe-global/api-kit')
const { default: Safe, hashSafeMessage } = require('@safe-global/protocol-kit')

const chainId = BigInt(world.chainId)
const contractNetworks = { [world.chainId]: world.contracts }
const [alice, bob, carol] = world.owners
for (const one of world.owners) one.api = new SafeApiKit({ chainId, txServiceUrl: one.service })

const connect = (one) => Safe.init({ provider: world.rpc, signer: one.key, safeAddress: world.safe, contractNetworks })
const cast = (...args) => execFileSync(world.cast, args, { encoding: 'utf8' }).trim()
const step = (what) => console.log(what)

// eventually repeats what may not have arrived yet.
async function eventually(what, f) {
  for (const end = Date.now() + 120_000; ; await new Promise((done) => setTimeout(done, 200))) {
    let got
    try {
      got = await f()
    } catch (e) {
      if (e.statusCode !== 404) throw e
    }
    if (got) return got
    assert(Date.now() < end, what)
  }
}

// refused is a request that must fail, with a status and words.
async function refused(status, words, request) {
  await assert.rejects(request, (e) => {
    assert.equal(e.statusCode, status, `${e.statusCode} ${e.message}`)
    assert.match(String(e.message) + JSON.stringify(e.data), words)
    return true
  })
}

// What a client asks first.
assert.equal((await alice.api.getServiceInfo()).name, 'Parley')
const info = await alice.api.getSafeInfo(world.safe)
assert.deepEqual([info.address, info.nonce, info.threshold, info.version], [world.safe, '0', 2, '1.4.1'])
assert.deepEqual([...info.owners].sort(), world.owners.map((o) => o.address).sort())
assert.equal(info.singleton, world.contracts.safeSingletonAddress)
assert.deepEqual((await bob.api.getSafesByOwner(bob.address)).safes, [world.safe])
assert.deepEqual((await bob.api.getSafesByOwner(world.payee)).safes, [])
assert.equal(await alice.api.getNextNonce(world.safe), '0')

// One owner proposes with api-kit.
const kit = await connect(alice)
const tx = await kit.createTransaction({ transactions: [{ to: world.payee, value: '1000000000000000', data: '0x' }] })
const hash = await kit.getTransactionHash(tx)
const signature = (await kit.signHash(hash)).data // eth_sign
const eip712 = (await kit.signTransaction(tx)).getSignature(alice.address).data
const proposal = {
  safeAddress: world.safe, safeTransactionData: tx.data, safeTxHash: hash,
  senderAddress: alice.address, senderSignature: eip712, origin: 'api-kit',
}
const lie = '0x' + '11'.repeat(32)
await refused(422, /does not match/, () => alice.api.proposeTransaction({ ...proposal, safeTxHash: lie }))
await refused(422, /does not match/, () =>
  alice.api.proposeTransaction({ ...proposal, safeTransactionData: { ...tx.data, value: '2' } }))
await refused(422, /not an owner/, () => alice.api.proposeTransaction({ ...proposal, senderAddress: world.payee }))
await refused(422, /sender/, () => alice.api.proposeTransaction({ ...proposal, senderAddress: bob.address }))
await refused(404, /Not found/, () => alice.api.getTransaction(hash))
await alice.api.proposeTransaction(proposal)
await alice.api.proposeTransaction({ ...proposal, senderSignature: signature }) // again, and signed in another way
assert.equal(await alice.api.getNextNonce(world.safe), '1')
step(`alice has proposed ${hash} with api-kit`)

// Another sees it at his own room, checks the hash against the contract, and
// signs with cast.
const seen = await eventually('bob does not see it', () => bob.api.getTransaction(hash))
assert.equal(seen.proposer, alice.address)
assert.equal(seen.confirmations.length, 1)
assert.equal(seen.isExecuted, false)
const fromChain = cast('call', world.safe,
  'getTransactionHash(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,uint256)(bytes32)',
  seen.to, seen.value, seen.data ?? '0x', String(seen.operation), seen.safeTxGas, seen.baseGas, seen.gasPrice,
  seen.gasToken, seen.refundReceiver, seen.nonce, '--rpc-url', world.rpc)
assert.equal(fromChain, seen.safeTxHash)
const field = (name, type) => ({ name, type })
const typed = {
  types: {
    EIP712Domain: [field('chainId', 'uint256'), field('verifyingContract', 'address')],
    SafeTx: [
      field('to', 'address'), field('value', 'uint256'), field('data', 'bytes'), field('operation', 'uint8'),
      field('safeTxGas', 'uint256'), field('baseGas', 'uint256'), field('gasPrice', 'uint256'),
      field('gasToken', 'address'), field('refundReceiver', 'address'), field('nonce', 'uint256'),
    ],
  },
  primaryType: 'SafeTx',
  domain: { chainId: world.chainId, verifyingContract: world.safe },
  message: {
    to: seen.to, value: seen.value, data: seen.data ?? '0x', operation: seen.operation, safeTxGas: seen.safeTxGas,
    baseGas: seen.baseGas, gasPrice: seen.gasPrice, gasToken: seen.gasToken, refundReceiver: seen.refundReceiver, nonce: seen.nonce,
  },
}
const byCast = cast('wallet', 'sign', '--private-key', bob.key, '--data', JSON.stringify(typed))
await refused(422, /signature/, () => bob.api.confirmTransaction(hash, '0x1234'))
await refused(404, /Not found/, () => bob.api.confirmTransaction(lie, byCast))
assert.equal((await bob.api.confirmTransaction(hash, byCast)).signature, byCast)
step('bob has signed with cast, and confirmed with api-kit')

// The third executes with protocol-kit what the service gives out.
const ready = await eventually('carol does not see two signatures', async () => {
  const pending = await carol.api.getPendingTransactions(world.safe, { hasConfirmations: true, limit: 10 })
  return pending.results.find((t) => t.safeTxHash === hash && t.confirmations.length === 2)
})
assert.equal((await carol.api.getTransactionConfirmations(hash)).count, 2)
const executor = await connect(carol)
const { hash: mined } = await executor.executeTransaction(ready)
step(`carol has executed it with protocol-kit in ${mined}`)
assert.equal(cast('balance', world.payee, '--rpc-url', world.rpc), '1000000000000000')
for (const one of world.owners) {
  const done = await eventually('execution is not seen', async () => {
    const t = await one.api.getTransaction(hash)
    return t.isExecuted && t
  })
  assert.equal(done.isSuccessful, true)
  assert.equal(done.transactionHash, mined)
  assert.equal(done.executor, carol.address)
  assert.equal((await one.api.getPendingTransactions(world.safe)).count, 0)
  assert.equal((await one.api.getMultisigTransactions(world.safe, { executed: true })).results[0].safeTxHash, hash)
  assert.equal((await one.api.getAllTransactions(world.safe)).results[0].txType, 'MULTISIG_TRANSACTION')
  assert.equal(await one.api.getNextNonce(world.safe), '1')
}
await refused(422, /used/, () => alice.api.proposeTransaction(proposal))
step('all three see that it was executed')

// A multisend by protocol-kit is shown with what is in it.
const batch = await kit.createTransaction({
  onlyCalls: true,
  transactions: [1, 2].map((n) => ({ to: world.payee, value: String(n), data: '0x' })),
})
const batchHash = await kit.getTransactionHash(batch)
await alice.api.proposeTransaction({
  ...proposal, safeTransactionData: batch.data, safeTxHash: batchHash,
  senderSignature: (await kit.signTransaction(batch)).getSignature(alice.address).data,
})
const inner = (await alice.api.getTransaction(batchHash)).dataDecoded
assert.equal(inner.method, 'multiSend')
assert.deepEqual(inner.parameters[0].valueDecoded.map((c) => [c.to, c.value]), [[world.payee, '1'], [world.payee, '2']])

// Off-chain messages, up to a signature that the Safe accepts (ERC-1271).
const mail = {
  types: { EIP712Domain: [field('name', 'string')], Mail: [field('text', 'string')] },
  primaryType: 'Mail', domain: { name: 'Post' }, message: { text: 'hello' },
}
for (const content of ['we are the treasury', mail]) {
  const message = kit.createMessage(content)
  const mine = (await kit.signMessage(message)).getSignature(alice.address).data
  await alice.api.addMessage(world.safe, { message: content, signature: mine })
  const id = await kit.getSafeMessageHash(hashSafeMessage(content))
  const got = await eventually('bob does not see the message', () => bob.api.getMessage(id))
  assert.deepEqual(got.message, content)
  const hers = await connect(bob)
  await bob.api.addMessageSignature(id, (await hers.signMessage(hers.createMessage(got.message))).getSignature(bob.address).data)
  const complete = await eventually('carol does not see the signature', async () => {
    const list = await carol.api.getMessages(world.safe, { ordering: '-created' })
    return list.results.find((m) => m.messageHash === id && m.confirmations.length === 2)
  })
  // protocol-kit's own isValidSignature does not get along with viem's check of overloads.
  const valid = cast('call', world.safe, 'isValidSignature(bytes32,bytes)(bytes4)', hashSafeMessage(content),
    complete.preparedSignature, '--rpc-url', world.rpc)
  assert.equal(valid, '0x1626ba7e', 'the Safe does not accept it')
}
step('messages are signed, and the Safe accepts them')

await refused(501, /delegates/, () => alice.api.getSafeDelegates({ safeAddress: world.safe }))
await refused(501, /indexed/, () => alice.api.getIncomingTransactions(world.safe))
await refused(404, /Not found/, () => alice.api.getSafeInfo(world.payee))
step('done')
