package safe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/holiman/uint256"

	"github.com/parley-im/parley/internal/devchain"
)

// Each kind of signature is accepted here if, and only if, the Safe accepts it.
func TestChainSignatures(t *testing.T) {
	each(t, func(t *testing.T, w *testbed, c *contracts) {
		executor, key, other := newSigner(t), newSigner(t), newSigner(t)
		w.fund(t, executor.address, key.address)
		nested := c.safe(t, 1, other.address)
		safe := c.safe(t, 1, key.address, nested)
		s := w.read(t, safe)
		number := 0
		next := func() (*Transaction, common.Hash) {
			tx := &Transaction{To: newSigner(t).address, Nonce: *uint256.NewInt(w.read(t, safe).Nonce)}
			return tx, tx.Hash(s.Account)
		}
		// agree holds Chain and Safe against each other; code is the Safe's refusal.
		agree := func(name string, tx *Transaction, sig Signature, code string) {
			t.Helper()
			number++
			verified := w.chain.VerifySignature(t.Context(), w.read(t, safe), tx.MessageHash(), sig)
			if ok := code == ""; (verified == nil) != ok || !ok && !errors.Is(verified, ErrSignature) {
				t.Errorf("%s: verified with %v", name, verified)
			}
			receipt, err := w.tryExecute(t.Context(), safe, executor, tx, sig)
			var explained *ExplainedError
			if code == "" {
				if err != nil || receipt.Status != 1 {
					t.Errorf("%s: executed with %v", name, err)
				}
			} else if !errors.As(err, &explained) || explained.Code != code && code != "-" || explained.Meaning == "" {
				t.Errorf("%s: the Safe says %v, not %s", name, err, code)
			}
		}
		for _, kind := range []SignatureKind{EIP712, EthSign} {
			tx, hash := next()
			agree(kind.String()+" over another hash", tx, key.sign(t, kind, common.Hash{1}), "GS026")
			stranger := other.sign(t, kind, hash)
			stranger.Owner = key.address
			agree(kind.String()+" by a stranger", tx, stranger, "GS026")
			mixed := key.sign(t, kind, hash)
			if mixed.Kind, mixed.Data[64] = EthSign, mixed.Data[64]+4; kind == EthSign {
				mixed.Kind, mixed.Data[64] = EIP712, mixed.Data[64]-8
			}
			agree(kind.String()+" as the other kind", tx, mixed, "GS026")
			agree(kind.String(), tx, key.sign(t, kind, hash), "")
		}

		tx, hash := next()
		approved := Signature{Owner: key.address, Kind: Approved}
		agree("not yet approved", tx, approved, "GS025")
		var explained *ExplainedError
		if _, _, err := w.send(t, executor, safe, ApproveCallData(hash)); !errors.As(err, &explained) || explained.Code != "GS030" {
			t.Errorf("a stranger approves: %v", err)
		}
		if _, _, err := w.send(t, key, safe, ApproveCallData(hash)); err != nil {
			t.Error(err)
		}
		agree("approved", tx, approved, "")

		tx, hash = next()
		signed := Signature{nested, Contract, must(PackSignatures([]Signature{other.sign(t, EIP712, nestedHash(s, nested, tx.MessageHash()))}))}
		agree("contract, nothing", tx, Signature{nested, Contract, nil}, "-")
		agree("contract, over the hash itself", tx, Signature{nested, Contract, other.sign(t, EIP712, hash).Data}, "GS026")
		agree("contract, with a key for a contract", tx, Signature{key.address, Contract, signed.Data}, "-")
		wrong := nestedHash(&Snapshot{Account: s.Account, Version: map[Version]Version{V130: V150, V141: V150, V150: V141}[s.Version]}, nested, tx.MessageHash())
		agree("contract, as another version hashes", tx, Signature{nested, Contract, other.sign(t, EIP712, wrong).Data}, "GS026")
		agree("contract", tx, signed, "")
		if number != 15 || w.read(t, safe).Nonce != 4 {
			t.Errorf("%d cases, nonce %d", number, w.read(t, safe).Nonce)
		}
	})
}

// nestedHash is what the owners of a Safe sign that is an owner of another: a
// SafeMessage whose bytes are what the other hands it.
func nestedHash(s *Snapshot, nested common.Address, structHash common.Hash) common.Hash {
	what := s.Account.preimage(structHash)
	if s.Version == V150 {
		hash := s.Account.digest(structHash)
		what = hash[:]
	}
	return Account{s.Account.ChainID, nested}.digest(crypto.Keccak256Hash(messageTypeHash, crypto.Keccak256(what)))
}

// A Safe of one version is an owner of a Safe of another, or cannot be.
func TestChainNestedVersions(t *testing.T) {
	t.Parallel()
	w := newTestbed(t)
	o, executor := newSigner(t), newSigner(t)
	w.fund(t, executor.address)
	var all []*contracts
	for _, name := range []string{"development", "1.3.0", "1.4.1", "1.5.0"} {
		all = append(all, w.contracts(t, name))
	}
	for _, outer := range all {
		for _, inner := range all {
			nested := inner.safe(t, 1, o.address)
			safe := outer.safe(t, 1, nested)
			s := w.read(t, safe)
			tx := &Transaction{To: o.address}
			sig := Signature{nested, Contract, o.sign(t, EthSign, nestedHash(s, nested, tx.MessageHash())).Data}
			verified := w.chain.VerifySignature(t.Context(), s, tx.MessageHash(), sig)
			_, executed := w.tryExecute(t.Context(), safe, executor, tx, sig)
			// 1.5.0 no longer answers to the first draft of ERC-1271.
			works := outer.version == V150 || inner.version != V150
			if (verified == nil) != works || (executed == nil) != works {
				t.Errorf("%s in %s: %v, %v", inner.version, outer.version, verified, executed)
			}
		}
	}
}

// All four kinds together, in the order that the Safe asks for.
func TestChainThreshold(t *testing.T) {
	each(t, func(t *testing.T, w *testbed, c *contracts) {
		a, b, approver, other, executor := newSigner(t), newSigner(t), newSigner(t), newSigner(t), newSigner(t)
		w.fund(t, approver.address, executor.address)
		nested := c.safe(t, 1, other.address)
		second := c.safe(t, 1, other.address)
		safe := c.safe(t, 5, a.address, b.address, approver.address, nested, second)
		w.fund(t, safe)
		s := w.read(t, safe)
		tx := &Transaction{To: newSigner(t).address, Value: *uint256.NewInt(7)}
		hash := tx.Hash(s.Account)
		if _, _, err := w.send(t, approver, safe, ApproveCallData(hash)); err != nil {
			t.Fatal(err)
		}
		of := func(nested common.Address) Signature {
			return Signature{nested, Contract, other.sign(t, EIP712, nestedHash(s, nested, tx.MessageHash())).Data}
		}
		sigs := []Signature{a.sign(t, EIP712, hash), b.sign(t, EthSign, hash), {Owner: approver.address, Kind: Approved}, of(nested), of(second)}
		refused := func(name, code string, sigs ...Signature) {
			t.Helper()
			before := w.balance(t, executor.address)
			_, err := w.tryExecute(t.Context(), safe, executor, tx, sigs...)
			var explained *ExplainedError
			if !errors.As(err, &explained) || explained.Code != code || explained.Remedy == "" || !strings.Contains(err.Error(), explained.Meaning) {
				t.Errorf("%s: %v, not %s", name, err, code)
			}
			if after := w.balance(t, executor.address); before.Cmp(after) != 0 {
				t.Errorf("%s: it has cost gas", name)
			}
		}
		refused("too few", "GS020", sigs[:3]...)
		stranger := slices.Clone(sigs)
		stranger[0] = newSigner(t).sign(t, EIP712, hash)
		refused("a stranger", "GS026", stranger...)
		packed, err := PackSignatures(sigs)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := ParseSignatures(hash, packed)
		if err != nil || len(parsed) != len(sigs) {
			t.Fatal(parsed, err)
		}
		s = w.read(t, safe)
		for _, sig := range parsed {
			if err := w.chain.VerifySignature(t.Context(), s, tx.MessageHash(), sig); err != nil {
				t.Error(err)
			}
		}
		changed := slices.Clone(sigs) // of another nonce
		changed[0] = a.sign(t, EIP712, (&Transaction{To: tx.To, Value: tx.Value, Nonce: *uint256.NewInt(1)}).Hash(s.Account))
		refused("another nonce", "GS026", changed...)
		if _, err := w.tryExecute(t.Context(), safe, executor, tx, parsed...); err != nil {
			t.Fatal(err)
		}
		if got := w.balance(t, tx.To); got.Int64() != 7 {
			t.Errorf("%v wei were paid", got)
		}
	})
}

// failing is code that reverts with the reason "no", and returning returns 32
// bytes of it.
const (
	failing       = "7f08c379a0" + "00000000000000000000000000000000000000000000000000000000" + "600052602060045260026024527f6e6f000000000000000000000000000000000000000000000000000000000000604452" + "60646000fd"
	returnsCaller = "3360005260206000f3"
)

func TestChainSimulates(t *testing.T) {
	each(t, func(t *testing.T, w *testbed, c *contracts) {
		o := newSigner(t)
		safe := c.safe(t, 1, o.address)
		w.fund(t, o.address, safe)
		no, caller := w.deploy(t, failing), w.deploy(t, returnsCaller)
		s := w.read(t, safe)
		word := func(a common.Address) []byte { return common.LeftPadBytes(a[:], 32) }
		big, small := *uint256.NewInt(2e18), *uint256.NewInt(1e18)
		for name, c := range map[string]struct {
			tx      *Transaction
			success bool
			reason  string
			result  []byte
		}{
			"call":               {&Transaction{To: caller}, true, "", word(safe)},
			"call reverts":       {&Transaction{To: no}, false, "no", nil},
			"ether":              {&Transaction{To: o.address, Value: small}, true, "", nil},
			"too much ether":     {&Transaction{To: o.address, Value: big}, false, "the Safe has 1000000000000000000 wei", nil},
			"token":              {&Transaction{To: devchain.Token, Data: EncodeTransfer(o.address, uint256.NewInt(1))}, false, "arithmetic underflow or overflow", nil},
			"itself":             {&Transaction{To: safe, Data: must(safeABI.Pack("changeThreshold", bigUint(2)))}, false, "GS201", nil},
			"delegate":           {&Transaction{To: caller, Operation: DelegateCall}, true, "", word(o.address)},
			"delegate reverts":   {&Transaction{To: no, Operation: DelegateCall}, false, "no", nil},
			"delegate to nobody": {&Transaction{To: o.address, Operation: DelegateCall}, true, "", nil},
			"data for nobody":    {&Transaction{To: o.address, Data: []byte{1}}, true, "", nil},
			// Its own functions ask for the Safe as caller.
			"delegate to itself": {&Transaction{To: c.singleton, Operation: DelegateCall, Data: must(safeABI.Pack("enableModule", o.address))}, false, "GS031", nil},
		} {
			got, err := w.chain.Simulate(t.Context(), s, c.tx)
			if err != nil || got.Success != c.success || got.Reason != c.reason || got.Success && !bytes.Equal(got.Result, c.result) || got.Block != s.Block ||
				got.NoCode != strings.HasSuffix(name, "nobody") {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
			// And so it happens.
			tx := *c.tx
			tx.Nonce = *uint256.NewInt(w.read(t, safe).Nonce)
			data, err := CallData(&tx, []Signature{o.sign(t, EIP712, tx.Hash(s.Account))})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.chain.Check(t.Context(), safe, o.address, data); (err == nil) != c.success {
				t.Errorf("%s: the Safe says %v", name, err)
			}
		}
		if got := w.read(t, safe); got.Nonce != 0 || len(got.Modules) != 0 {
			t.Errorf("after simulations: %+v", got)
		}
		// What is simulated is the block of the snapshot.
		w.execute(t, safe, o, &Transaction{To: newSigner(t).address, Value: small})
		pay := &Transaction{To: o.address, Value: small}
		if got, err := w.chain.Simulate(t.Context(), s, pay); err != nil || !got.Success {
			t.Errorf("at the old block %+v, %v", got, err)
		}
		if got, err := w.chain.Simulate(t.Context(), w.read(t, safe), pay); err != nil || got.Success {
			t.Errorf("at the new block %+v, %v", got, err)
		}
	})
}

// A node whose simulation does not revert is no node.
func TestChainSimulationMustRevert(t *testing.T) {
	t.Parallel()
	w := newTestbed(t)
	o := newSigner(t).address
	s := w.read(t, w.contracts(t, "development").safe(t, 1, o))
	for name, c := range map[string]struct {
		reply string
		want  error
	}{
		"returns": {`"result":"0x"`, ErrChain},
		"short":   {`"error":{"code":3,"message":"execution reverted","data":"0x01"}`, nil},
		"lies about the length": {`"error":{"code":3,"message":"execution reverted","data":"0x` +
			fmt.Sprintf("%064x%064x", 1, 1<<40) + `"}`, nil},
	} {
		chain := w.through(t, func(method string, _ json.RawMessage) string {
			if method == "eth_call" {
				return c.reply
			}
			return ""
		})
		got, err := chain.Simulate(t.Context(), s, &Transaction{To: o, Operation: DelegateCall})
		if !errors.Is(err, c.want) || err == nil && got.Success {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// What would fail is not sent.
func TestChainExecuteSparesGas(t *testing.T) {
	each(t, func(t *testing.T, w *testbed, c *contracts) {
		o, executor := newSigner(t), newSigner(t)
		safe := c.safe(t, 1, o.address)
		w.fund(t, executor.address)
		no := w.deploy(t, failing)
		rejecting := w.deploy(t, "60006000fd")
		one, most := *uint256.NewInt(1), *new(uint256.Int).SetAllOne()
		own := Explain(&RevertError{Reason: "GS013"})
		if c.version == V150 { // which hands on what the call says
			own = Explain(&RevertError{Reason: "no"})
		}
		for name, c := range map[string]struct {
			tx   Transaction
			want error
		}{
			"call fails":           {Transaction{To: no}, own},
			"call fails, with gas": {Transaction{To: no, SafeTxGas: one}, ErrWouldFail},
			"ether":                {Transaction{To: o.address, Value: one, SafeTxGas: one}, ErrWouldFail},
			"too much gas":         {Transaction{To: o.address, SafeTxGas: *uint256.NewInt(1 << 40)}, Explain(&RevertError{Reason: "GS010"})},
			"ether refund":         {Transaction{To: o.address, SafeTxGas: *uint256.NewInt(1e5), GasPrice: most, BaseGas: one}, Explain(&RevertError{Reason: "GS011"})},
			"token refund":         {Transaction{To: o.address, SafeTxGas: *uint256.NewInt(1e5), GasPrice: one, GasToken: devchain.Token}, Explain(&RevertError{Reason: "GS012"})},
			"token that reverts":   {Transaction{To: o.address, SafeTxGas: *uint256.NewInt(1e5), GasPrice: one, GasToken: rejecting}, Explain(&RevertError{Reason: "GS012"})},
			"refund overflows":     {Transaction{To: o.address, SafeTxGas: *uint256.NewInt(1e5), GasPrice: most, BaseGas: most, GasToken: devchain.Token}, Explain(&RevertError{})},
		} {
			before := w.balance(t, executor.address)
			s := w.read(t, safe)
			c.tx.Nonce = *uint256.NewInt(s.Nonce)
			receipt, err := w.tryExecute(t.Context(), safe, executor, &c.tx, o.sign(t, EIP712, c.tx.Hash(s.Account)))
			var want, got *ExplainedError
			switch {
			case receipt != nil:
				t.Errorf("%s was sent: %v", name, err)
			case errors.As(c.want, &want):
				if !errors.As(err, &got) || got.Code != want.Code || got.Error() != want.Error() {
					t.Errorf("%s: %v, not %v", name, err, want)
				}
			case !errors.Is(err, c.want):
				t.Errorf("%s: %v, not %v", name, err, c.want)
			}
			if w.balance(t, executor.address).Cmp(before) != 0 || w.read(t, safe).Nonce != 0 {
				t.Errorf("%s has cost gas", name)
			}
		}
		// A poor executor is told so by the endpoint, before anything is sent.
		s, poor := w.read(t, safe), newSigner(t)
		tx := &Transaction{To: o.address}
		if _, err := w.tryExecute(t.Context(), safe, poor, tx, o.sign(t, EIP712, tx.Hash(s.Account))); !errors.Is(err, ErrChain) || !strings.Contains(err.Error(), "insufficient funds") {
			t.Errorf("without ether: %v", err)
		}
	})
}

// With safeTxGas a node may find a gas limit with which the Safe is content, and
// the call within has too little.
func TestChainExecuteGivesGasEnough(t *testing.T) {
	each(t, func(t *testing.T, w *testbed, c *contracts) {
		o := newSigner(t)
		safe := c.safe(t, 1, o.address)
		w.fund(t, o.address)
		// Counts down from 2000 and writes into ten slots.
		hungry := w.deploy(t, "6107d05b6001900380600357"+writes(10)+"00")
		s, tx := w.read(t, safe), &Transaction{To: hungry, SafeTxGas: *uint256.NewInt(1)}
		data := must(CallData(tx, []Signature{o.sign(t, EIP712, tx.Hash(s.Account))}))
		little := uint64(50_000)
		for ; little < 1_000_000; little += 5_000 {
			msg := ethereum.CallMsg{From: o.address, To: &safe, Data: data, Gas: little + little/5}
			if err := w.chain.dryRun(t.Context(), msg); errors.Is(err, ErrWouldFail) {
				break
			}
		}
		if little == 1_000_000 {
			t.Fatal("there is no such limit")
		}
		lean := w.through(t, func(method string, _ json.RawMessage) string {
			if method == "eth_estimateGas" {
				return fmt.Sprintf(`"result":"%#x"`, little)
			}
			return ""
		})
		if _, err := lean.Execute(t.Context(), safe, data, o.wallet); err != nil || w.read(t, safe).Nonce != 1 {
			t.Error(err)
		}
		got, err := w.dev.Client().StorageAt(t.Context(), hungry, common.BigToHash(big.NewInt(9)), nil)
		if err != nil || allZero(got) {
			t.Errorf("the call did not run to its end: %x, %v", got, err)
		}
	})
}

// writes is code that writes a one into the first slots.
func writes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "600160%02x55", i)
	}
	return b.String()
}

func TestChainRefunds(t *testing.T) {
	each(t, func(t *testing.T, w *testbed, c *contracts) {
		o := newSigner(t)
		safe := c.safe(t, 1, o.address)
		w.fund(t, o.address, safe)
		if err := w.dev.Mint(t.Context(), safe, big.NewInt(1e12)); err != nil {
			t.Fatal(err)
		}
		receiver := newSigner(t).address
		gas := Transaction{To: receiver, SafeTxGas: *uint256.NewInt(50_000), BaseGas: *uint256.NewInt(30_000), GasPrice: *uint256.NewInt(3)}
		// in ether, to a named receiver
		tx := gas
		tx.RefundReceiver = receiver
		receipt := w.execute(t, safe, o, &tx)
		paid := w.balance(t, receiver)
		if payment := payment(t, receipt.Logs[len(receipt.Logs)-1].Data); paid.Cmp(payment) != 0 || paid.Int64() < 90_000 {
			t.Errorf("%v wei were paid, the event says %v", paid, payment)
		}
		// in tokens, to whoever executes
		tx = gas
		tx.GasToken = devchain.Token
		receipt = w.execute(t, safe, o, &tx)
		paid = w.tokens(t, o.address)
		if payment := payment(t, receipt.Logs[len(receipt.Logs)-1].Data); paid.Cmp(payment) != 0 || paid.Int64() < 90_000 {
			t.Errorf("%v tokens were paid, the event says %v", paid, payment)
		}
	})
}

// payment is the last word of an execution's event.
func payment(t *testing.T, data []byte) *big.Int {
	t.Helper()
	if len(data) < 32 {
		t.Fatalf("%x", data)
	}
	return new(big.Int).SetBytes(data[len(data)-32:])
}

func TestChainOutcomes(t *testing.T) {
	each(t, func(t *testing.T, w *testbed, c *contracts) {
		o, executor := newSigner(t), newSigner(t)
		safe := c.safe(t, 1, o.address)
		w.fund(t, executor.address)
		first := w.read(t, safe)
		// Succeeds.
		good := &Transaction{To: o.address}
		receipt, err := w.tryExecute(t.Context(), safe, executor, good, o.sign(t, EIP712, good.Hash(first.Account)))
		if err != nil {
			t.Fatal(err)
		}
		// Fails, and uses the nonce; sent by hand, for Execute would not.
		bad := &Transaction{To: w.deploy(t, failing), Nonce: *uint256.NewInt(1), SafeTxGas: *uint256.NewInt(10_000)}
		data := must(CallData(bad, []Signature{o.sign(t, EIP712, bad.Hash(first.Account))}))
		if _, _, err := w.send(t, executor, safe, data); err != nil {
			t.Fatal(err)
		}
		for range 8 { // empty blocks, as far as the Safe is concerned
			w.fund(t, executor.address)
		}
		never := &Transaction{To: o.address, Nonce: *uint256.NewInt(1)}
		s := w.read(t, safe)
		hashes := []common.Hash{never.Hash(s.Account), bad.Hash(s.Account), good.Hash(s.Account), good.Hash(s.Account)}
		check := func(name string, chain *Chain, from, to uint64, want int) {
			t.Helper()
			got, err := chain.Outcomes(t.Context(), s, hashes, from, to)
			if err != nil || len(got) != want {
				t.Errorf("%s: %v, %v", name, got, err)
				return
			}
			if g := got[hashes[2]]; g != nil && (!g.Success || g.Transaction != receipt.TxHash || g.Block != receipt.BlockNumber.Uint64() ||
				g.Executor != executor.address || g.Time.IsZero()) {
				t.Errorf("%s: %+v", name, g)
			}
			if b := got[hashes[1]]; b != nil && (b.Success || b.Executor != executor.address) {
				t.Errorf("%s: %+v", name, b)
			}
		}
		check("all", w.chain, 0, s.Block, 2)
		check("the first", w.chain, first.Block, first.Block+1, 1)
		check("after them", w.chain, s.Block, s.Block, 0)
		check("backwards", w.chain, s.Block, 0, 0)
		var asked atomic.Int32
		narrow := w.through(t, func(method string, params json.RawMessage) string {
			var q []struct{ FromBlock, ToBlock hexutil.Uint64 }
			if method != "eth_getLogs" || json.Unmarshal(params, &q) != nil {
				return ""
			}
			asked.Add(1)
			if q[0].ToBlock-q[0].FromBlock >= 3 {
				return `"error":{"code":-32005,"message":"block range is too wide"}`
			}
			if uint64(q[0].ToBlock) > s.Block {
				return `"result":[]`
			}
			return ""
		})
		check("an endpoint of three blocks", narrow, 0, s.Block, 2)
		if asked.Load() < 4 {
			t.Errorf("asked %d times", asked.Load())
		}
		asked.Store(0)
		// So far ahead that the blocks there are come last: it gives up before.
		if got, err := narrow.Outcomes(t.Context(), s, hashes, 0, 1<<40); err != nil || len(got) != 0 || asked.Load() != maxSearches {
			t.Errorf("%v, %v, asked %d times", got, err, asked.Load())
		}
		// An event that is another contract's does not count.
		forged := w.through(t, func(method string, _ json.RawMessage) string {
			if method != "eth_getLogs" {
				return ""
			}
			logs, err := w.dev.Client().FilterLogs(t.Context(), ethereum.FilterQuery{Addresses: []common.Address{safe}, FromBlock: new(big.Int)})
			if err != nil {
				t.Error(err)
			}
			for i := range logs {
				logs[i].Address = o.address
			}
			b, err := json.Marshal(logs)
			if err != nil {
				t.Error(err)
			}
			return `"result":` + string(b)
		})
		check("forged", forged, 0, s.Block, 0)
	})
}

// Messages signed off-chain satisfy ERC-1271.
func TestChainMessages(t *testing.T) {
	each(t, func(t *testing.T, w *testbed, c *contracts) {
		a, b := newSigner(t), newSigner(t)
		safe := c.safe(t, 2, a.address, b.address)
		s := w.read(t, safe)
		text, err := TextMessage("I agree to the terms.")
		if err != nil {
			t.Fatal(err)
		}
		typed, err := ParseTypedMessage([]byte(`{"types":{"EIP712Domain":[{"name":"name","type":"string"}],"Mail":[{"name":"text","type":"string"}]},
			"primaryType":"Mail","domain":{"name":"test"},"message":{"text":"hello"}}`))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []Message{text, typed} {
			hash, digest := m.Hash(s.Account), m.Digest()
			sigs := []Signature{a.sign(t, EIP712, hash), b.sign(t, EthSign, hash)}
			for _, sig := range sigs {
				if err := w.chain.VerifySignature(t.Context(), s, m.StructHash(), sig); err != nil {
					t.Error(err)
				}
			}
			valid := func(method string, what any, packed []byte) string {
				data, err := safeABI.Pack(method, what, packed)
				if err != nil {
					t.Fatal(err)
				}
				reply, err := w.dev.Client().CallContract(t.Context(), ethereum.CallMsg{To: &safe, Data: data}, nil)
				if err != nil {
					return Explain(callError(err)).Error()
				}
				return hexutil.Encode(reply)
			}
			yes := func(magic string) string { return "0x" + magic + strings.Repeat("00", 28) }
			packed := must(PackSignatures(sigs))
			if got := valid("isValidSignature", digest, packed); got != yes("1626ba7e") {
				t.Error(got)
			}
			if got := valid("isValidSignature", digest, packed[:65]); !strings.Contains(got, "GS020") {
				t.Errorf("one signature: %s", got)
			}
			if got := valid("isValidSignature", common.Hash{1}, packed); !strings.Contains(got, "GS026") {
				t.Errorf("another message: %s", got)
			}
			if got, want := valid("isValidSignature0", digest[:], packed), yes("20c13b0b"); (got == want) != (c.version != V150) {
				t.Errorf("by the first draft: %s", got)
			}
		}
	})
}

// A batch is run by a contract that is there: a delegatecall to nothing succeeds.
func TestChainFindsMultiSend(t *testing.T) {
	t.Parallel()
	w := newTestbed(t)
	safe := w.contracts(t, "development").safe(t, 1, newSigner(t).address)
	s := w.read(t, safe)
	if at, err := w.chain.MultiSendCallOnly(t.Context(), s); err != nil || at != devchain.MultiSendCallOnly {
		t.Errorf("%s, %v", at, err)
	}
	s.Version = V130
	if at, err := w.chain.MultiSendCallOnly(t.Context(), s); !errors.Is(err, ErrBuilder) {
		t.Errorf("of 1.3.0, %s, %v", at, err)
	}
}

func TestChainMultiSend(t *testing.T) {
	each(t, func(t *testing.T, w *testbed, c *contracts) {
		o, x, y := newSigner(t), newSigner(t).address, newSigner(t).address
		safe := c.safe(t, 1, o.address)
		w.fund(t, o.address, safe)
		if err := w.dev.Mint(t.Context(), safe, big.NewInt(100)); err != nil {
			t.Fatal(err)
		}
		calls := []InnerCall{
			{To: x, Value: *uint256.NewInt(11)},
			{To: devchain.Token, Data: EncodeTransfer(y, uint256.NewInt(100))},
			{To: safe, Data: must(safeABI.Pack("enableModule", y))},
		}
		batch := &Transaction{To: c.multiSendCallOnly, Operation: DelegateCall, Data: EncodeMultiSend(calls)}
		if sim, err := w.chain.Simulate(t.Context(), w.read(t, safe), batch); err != nil || !sim.Success {
			t.Fatalf("%+v, %v", sim, err)
		}
		w.execute(t, safe, o, batch)
		if s := w.read(t, safe); w.balance(t, x).Int64() != 11 || w.tokens(t, y).Int64() != 100 || !slices.Equal(s.Modules, []common.Address{y}) {
			t.Errorf("%v wei, %v tokens, modules %v", w.balance(t, x), w.tokens(t, y), s.Modules)
		}
		// More modules than a snapshot has.
		var many []InnerCall
		for i := range maxModules {
			many = append(many, InnerCall{To: safe, Data: must(safeABI.Pack("enableModule", common.BigToAddress(bigUint(uint64(i)+100))))})
		}
		if s := w.read(t, safe); s.MoreModules {
			t.Error("one module is more than are shown")
		}
		w.execute(t, safe, o, &Transaction{To: c.multiSendCallOnly, Operation: DelegateCall, Data: EncodeMultiSend(many)})
		if s := w.read(t, safe); len(s.Modules) != maxModules || !s.MoreModules {
			t.Errorf("%d modules, more: %v", len(s.Modules), s.MoreModules)
		}
		// All or nothing; and no call of a multisend is a delegate call.
		for name, last := range map[string]InnerCall{
			"tokens that are not there": {To: devchain.Token, Data: EncodeTransfer(y, uint256.NewInt(1))},
			"delegate call":             {To: x, Operation: DelegateCall},
		} {
			bad := &Transaction{To: c.multiSendCallOnly, Operation: DelegateCall, Data: EncodeMultiSend([]InnerCall{calls[0], last})}
			if sim, err := w.chain.Simulate(t.Context(), w.read(t, safe), bad); err != nil || sim.Success {
				t.Errorf("%s: %+v, %v", name, sim, err)
			}
		}
	})
}

// Every refusal of the contracts that a signer can meet has its explanation.
func TestExplain(t *testing.T) {
	t.Parallel()
	for code, e := range codes {
		err := Explain(fmt.Errorf("around: %w", &RevertError{Reason: code}))
		var explained *ExplainedError
		var reverted *RevertError
		if !errors.As(err, &explained) || explained.Code != code || e[0] == "" || e[1] == "" || !errors.As(err, &reverted) ||
			!strings.Contains(err.Error(), code+": "+e[0]+"; "+e[1]) {
			t.Errorf("%s: %v", code, err)
		}
	}
	var explained *ExplainedError
	if err := Explain(&RevertError{Reason: "Pausable: paused"}); !errors.As(err, &explained) || explained.Code != "" || !strings.Contains(err.Error(), "Pausable: paused") {
		t.Error(err)
	}
	if err := Explain(ErrChain); err != ErrChain {
		t.Error(err)
	}
	if Explain(nil) != nil {
		t.Error("nothing is explained")
	}
}
