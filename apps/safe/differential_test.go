package safe

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/holiman/uint256"

	"github.com/parley-im/parley/internal/devchain"
)

// The development chain's Safe does as the real 1.4.1 does: a random history of
// good and bad calls has the same results, refusals, events and state on both.
func TestChainDifferential(t *testing.T) {
	t.Parallel()
	w := newTestbed(t)
	real := w.contracts(t, "1.4.1")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	h := newHistory(t, w, rand.New(rand.NewPCG(seed, 0)), w.contracts(t, "development"), real)
	const steps = 500
	for n := range steps {
		name := h.step(t)
		if t.Failed() {
			t.Fatalf("step %d, %s", n, name)
		}
	}
	t.Logf("what was met: %v", h.met)
	// A history that meets little shows little.
	for _, what := range []string{"ok", "ExecutionFailure", "GS010", "GS013", "GS020", "GS021", "GS022", "GS025", "GS026", "GS030", "GS031", "GS104", "GS201", "GS203"} {
		if h.met[what] == 0 {
			t.Errorf("%s was not met", what)
		}
	}
}

// twin is one of the two Safes that are held against each other.
type twin struct {
	safe, singleton, handler, multiSend common.Address
	account                             Account
	known                               map[common.Hash]string // hashes that are of this Safe alone
}

type history struct {
	w       *testbed
	r       *rand.Rand
	twins   [2]*twin
	keys    []*signer
	nested  common.Address // a contract that may be an owner
	failing common.Address
	met     map[string]int
}

func newHistory(t *testing.T, w *testbed, r *rand.Rand, of ...*contracts) *history {
	h := &history{w: w, r: r, failing: w.deploy(t, failing), met: map[string]int{}}
	for range 6 {
		h.keys = append(h.keys, newSigner(t))
	}
	slices.SortFunc(h.keys, func(a, b *signer) int { return a.address.Cmp(b.address) })
	h.nested = of[0].safe(t, 1, h.keys[5].address)
	for i, c := range of {
		safe := c.safe(t, 2, h.keys[0].address, h.keys[1].address, h.keys[2].address, h.nested)
		h.twins[i] = &twin{safe, c.singleton, c.handler, c.multiSendCallOnly, Account{devchain.ChainID, safe}, map[common.Hash]string{}}
		w.fund(t, safe)
		if err := w.dev.Mint(t.Context(), safe, big.NewInt(1e9)); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range h.keys {
		w.fund(t, k.address)
	}
	return h
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// step has both Safes do the same.
func (h *history) step(t *testing.T) string {
	var states [2]string
	var snapshots [2]*Snapshot
	for i, c := range h.twins {
		snapshots[i] = h.w.read(t, c.safe)
		states[i] = c.state(snapshots[i])
	}
	if states[0] != states[1] {
		t.Errorf("the states are\n%s\n%s", states[0], states[1])
		return "state"
	}
	from := pick(h.r, h.keys...)
	seed := h.r.Uint64()
	var results [2]string
	var name string
	for i, c := range h.twins {
		// The same choices for both.
		r := rand.New(rand.NewPCG(seed, 1))
		var data []byte
		s := snapshots[i]
		name, data = h.call(t, r, c, s)
		result, logs, err := h.w.send(t, from, c.safe, data)
		results[i] = h.report(c, result, logs, err)
		// What a Safe says to itself is not heard within a transaction.
		_, data = h.management(r, c, s)
		result, err = h.w.chain.call(t.Context(), ethereum.CallMsg{From: c.safe, To: &c.safe, Data: data}, s.BlockHash)
		results[i] += "\nto itself " + h.report(c, result, nil, err)
	}
	if results[0] != results[1] {
		t.Errorf("%s:\n%s\n%s", name, results[0], results[1])
	}
	return name
}

// call makes one call to a Safe.
func (h *history) call(t *testing.T, r *rand.Rand, c *twin, s *Snapshot) (string, []byte) {
	switch n := r.IntN(20); {
	case n < 11:
		return h.execution(t, r, c, s)
	case n < 13:
		name, data := h.management(r, c, s)
		return "directly " + name, data
	case n < 15:
		hash := h.transaction(r, c, s).Hash(c.account)
		c.known[hash] = "approved"
		return "approveHash", ApproveCallData(hash)
	case n < 17:
		tx := h.transaction(r, c, s)
		return "module", must(safeABI.Pack("execTransactionFromModule", tx.To, tx.Value.ToBig(), tx.Data, uint8(tx.Operation)))
	case n < 18:
		start := pick(r, append(s.Modules, sentinel, common.Address{}, h.keys[0].address)...)
		return "modules", must(safeABI.Pack("getModulesPaginated", start, bigUint(r.Uint64N(4))))
	case n < 19:
		var message Message
		message.digest = common.Hash{byte(r.IntN(3))}
		hash := message.Hash(c.account)
		return "isValidSignature", must(safeABI.Pack("isValidSignature", message.digest, h.signatures(t, r, c, s, hash, message.StructHash())))
	}
	tx := h.transaction(r, c, s)
	hash, pre := tx.Hash(c.account), c.account.preimage(tx.MessageHash())
	if r.IntN(4) == 0 {
		pre[5] ^= 1
	}
	return "checkNSignatures", must(differentialABI.Pack("checkNSignatures", hash, pre, h.signatures(t, r, c, s, hash, tx.MessageHash()),
		pick(r, big.NewInt(0), big.NewInt(1), big.NewInt(2), new(big.Int).Lsh(big.NewInt(1), 255))))
}

var differentialABI = must(abi.JSON(strings.NewReader("[" +
	view("checkNSignatures", []string{"bytes32 hash", "bytes data", "bytes signatures", "uint256 required"}) + "]")))

// transaction is one that there may be, with the next nonce or near it.
func (h *history) transaction(r *rand.Rand, c *twin, s *Snapshot) *Transaction {
	tx := &Transaction{To: pick(r, h.keys...).address, Nonce: *uint256.NewInt(s.Nonce)}
	if r.IntN(12) == 0 {
		tx.Nonce.AddUint64(&tx.Nonce, 1)
	}
	switch r.IntN(10) {
	case 0:
		tx.Value = *uint256.NewInt(r.Uint64N(1000))
	case 1:
		tx.To = h.failing
	case 2:
		tx.To, tx.Data = devchain.Token, EncodeTransfer(h.keys[0].address, uint256.NewInt(r.Uint64N(1000)))
	case 3:
		tx.To, tx.Operation = c.multiSend, DelegateCall
		var calls []InnerCall
		for range r.IntN(3) {
			_, data := h.management(r, c, s)
			calls = append(calls, InnerCall{To: c.safe, Data: data, Operation: pick(r, Call, Call, Call, DelegateCall)})
		}
		tx.Data = EncodeMultiSend(calls)
	default:
		tx.To = c.safe
		_, tx.Data = h.management(r, c, s)
	}
	if r.IntN(8) == 0 {
		tx.Operation ^= 1
	}
	if r.IntN(4) == 0 {
		tx.SafeTxGas = pick(r, *uint256.NewInt(1), *uint256.NewInt(200_000), *uint256.NewInt(1e8), *new(uint256.Int).SetAllOne())
	}
	if r.IntN(6) == 0 {
		tx.GasPrice = pick(r, *uint256.NewInt(1), *uint256.NewInt(1), *uint256.NewInt(1), *new(uint256.Int).SetAllOne())
		tx.GasToken = pick(r, common.Address{}, devchain.Token, h.failing, h.keys[1].address)
		tx.BaseGas = pick(r, uint256.Int{}, *uint256.NewInt(5000), *new(uint256.Int).SetAllOne())
		tx.RefundReceiver = pick(r, common.Address{}, h.keys[3].address)
	}
	return tx
}

// management is a call by which a Safe changes itself, mostly one that it can
// do.
func (h *history) management(r *rand.Rand, c *twin, s *Snapshot) (string, []byte) {
	// before is the element before one in a linked list.
	before := func(list []common.Address, a common.Address) common.Address {
		if i := slices.Index(list, a); i > 0 && r.IntN(8) > 0 {
			return list[i-1]
		}
		return sentinel
	}
	anybody := func() common.Address {
		if r.IntN(6) == 0 {
			return pick(r, common.Address{}, sentinel, c.safe)
		}
		if r.IntN(8) == 0 {
			return h.nested
		}
		return pick(r, h.keys[:5]...).address
	}
	owner := func() common.Address {
		if r.IntN(6) == 0 {
			return anybody()
		}
		return pick(r, s.Owners...)
	}
	// Few owners and a low threshold keep a history alive.
	threshold := bigUint(1 + r.Uint64N(2))
	if r.IntN(8) == 0 {
		threshold = bigUint(pick(r, uint64(0), 9))
	}
	pack := func(method string, args ...any) (string, []byte) { return method, must(safeABI.Pack(method, args...)) }
	switch r.IntN(9) {
	case 0:
		return pack("addOwnerWithThreshold", anybody(), threshold)
	case 1:
		a := owner()
		return pack("removeOwner", before(s.Owners, a), a, threshold)
	case 2:
		a := owner()
		return pack("swapOwner", before(s.Owners, a), a, anybody())
	case 3:
		return pack("changeThreshold", threshold)
	case 4, 5:
		return pack("enableModule", anybody())
	case 6:
		module := anybody()
		if len(s.Modules) > 0 && r.IntN(4) > 0 {
			module = pick(r, s.Modules...)
		}
		return pack("disableModule", before(s.Modules, module), module)
	case 7:
		return pack("setGuard", pick(r, common.Address{}, h.failing, h.keys[0].address, devchain.Token, c.safe))
	}
	return pack("setFallbackHandler", pick(r, common.Address{}, c.handler, c.handler, c.safe, h.failing))
}

// execution is execTransaction, mostly with signatures that suffice.
func (h *history) execution(t *testing.T, r *rand.Rand, c *twin, s *Snapshot) (string, []byte) {
	tx := h.transaction(r, c, s)
	current := *tx
	current.Nonce = *uint256.NewInt(s.Nonce)
	c.known[current.Hash(c.account)] = "hash"
	hash := tx.Hash(c.account)
	c.known[hash] = "hash"
	op := uint8(tx.Operation)
	if r.IntN(20) == 0 {
		op = 2
	}
	return fmt.Sprintf("execTransaction %+v", tx), must(safeABI.Pack("execTransaction", tx.To, tx.Value.ToBig(), orEmpty(tx.Data), op, tx.SafeTxGas.ToBig(),
		tx.BaseGas.ToBig(), tx.GasPrice.ToBig(), tx.GasToken, tx.RefundReceiver, h.signatures(t, r, c, s, hash, tx.MessageHash())))
}

// signatures are of owners, and sometimes spoilt.
func (h *history) signatures(t *testing.T, r *rand.Rand, c *twin, s *Snapshot, hash, structHash common.Hash) []byte {
	var sigs []Signature
	for _, k := range h.keys {
		if slices.Contains(s.Owners, k.address) {
			sig := k.sign(t, pick(r, EIP712, EIP712, EthSign), hash)
			if r.IntN(10) == 0 {
				sig = Signature{k.address, Approved, nil}
			}
			sigs = append(sigs, sig)
		}
	}
	if slices.Contains(s.Owners, h.nested) {
		inner := nestedHash(&Snapshot{Account: c.account, Version: V141}, h.nested, structHash)
		sigs = append(sigs, Signature{h.nested, Contract, h.keys[5].sign(t, EIP712, inner).Data})
	}
	r.Shuffle(len(sigs), func(i, j int) { sigs[i], sigs[j] = sigs[j], sigs[i] })
	n := min(int(s.Threshold), len(sigs))
	if r.IntN(10) == 0 {
		n = r.IntN(len(sigs) + 1)
	}
	sigs = sigs[:n]
	if r.IntN(10) == 0 {
		sigs = append(sigs, pick(r, h.keys...).sign(t, EIP712, pick(r, hash, common.Hash{1})))
		slices.SortFunc(sigs, func(a, b Signature) int { return a.Owner.Cmp(b.Owner) })
		sigs = slices.CompactFunc(sigs, func(a, b Signature) bool { return a.Owner == b.Owner })
	}
	if len(sigs) == 0 {
		return []byte{}
	}
	b := must(PackSignatures(sigs))
	at := staticSize * r.IntN(len(sigs))
	one := b[at : at+staticSize]
	switch r.IntN(40) {
	case 0: // two change places
		other := b[:staticSize]
		for i := range one {
			one[i], other[i] = other[i], one[i]
		}
	case 1:
		copy(one, b[:staticSize])
	case 2:
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
	case 3:
		one[64] = byte(pick(r, 2, 26, 29, 30, 33, 255))
	case 4:
		b = append(b, make([]byte, r.IntN(70))...)
	case 5:
		b = b[:r.IntN(len(b))]
	case 6, 7, 8, 9, 10, 11, 12: // a contract's, that points somewhere
		copy(one, slices.Concat(word(h.nested), number(r.IntN(2*len(b)))))
		one[64] = 0
		if r.IntN(4) == 0 {
			copy(one[32:64], bytes.Repeat([]byte{0xff}, 32))
		}
	case 13, 14: // an endless one
		copy(one, slices.Concat(word(h.nested), number(len(b))))
		one[64] = 0
		b = append(b, bytes.Repeat([]byte{0xff}, 32)...)
	case 15:
		copy(one, slices.Concat(word(pick(r, h.keys...).address), make([]byte, 32)))
		one[64] = 1
	}
	return b
}

// report is what a call has led to, without what only one of the twins has.
func (h *history) report(c *twin, result []byte, logs []*types.Log, err error) string {
	if err != nil {
		var reverted *RevertError
		if !errors.As(err, &reverted) {
			return err.Error()
		}
		h.met[reverted.Reason]++
		return "reverts with " + reverted.Reason + " " + c.neutral(reverted.Data)
	}
	h.met["ok"]++
	var b strings.Builder
	fmt.Fprintf(&b, "returns %s", c.neutral(result))
	for _, l := range logs {
		data := l.Data
		if l.Address == c.safe && (l.Topics[0] == topicSuccess || l.Topics[0] == topicFailure) {
			if l.Topics[0] == topicFailure {
				h.met["ExecutionFailure"]++
			}
			if paid := new(big.Int).SetBytes(data); paid.Sign() > 0 { // how much depends on the gas that was used
				h.met["paid"]++
				data = []byte("paid")
			}
		}
		if l.Address == devchain.Token && l.Topics[0] == transferTopic {
			data = nil // it may be a refund
		}
		fmt.Fprintf(&b, "\n%s", c.neutral(l.Address[:]))
		for _, topic := range l.Topics {
			fmt.Fprintf(&b, " %s", c.neutral(topic[:]))
		}
		fmt.Fprintf(&b, ": %s", c.neutral(data))
	}
	return b.String()
}

var transferTopic = crypto.Keccak256Hash([]byte("Transfer(address,address,uint256)"))

// neutral puts names in the place of what is of one twin alone.
func (c *twin) neutral(b []byte) string {
	for hash, name := range c.known {
		b = bytes.ReplaceAll(b, hash[:], []byte(name))
	}
	for name, a := range map[string]common.Address{"(safe)": c.safe, "(handler)": c.handler, "(multisend)": c.multiSend, "(singleton)": c.singleton} {
		b = bytes.ReplaceAll(b, a[:], []byte(name))
	}
	return hex.EncodeToString(b)
}

// state is what a Safe is.
func (c *twin) state(s *Snapshot) string {
	var b strings.Builder
	fmt.Fprintf(&b, "nonce %d threshold %d", s.Nonce, s.Threshold)
	for _, a := range slices.Concat([]common.Address{s.Guard, s.FallbackHandler, s.Singleton}, s.Owners, s.Modules) {
		fmt.Fprintf(&b, " %s", c.neutral(a[:]))
	}
	return b.String()
}
