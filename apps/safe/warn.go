package safe

import (
	"fmt"
	"math/big"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"
)

// Level is how loud a warning is.
type Level string

// The levels: a Danger can cost all that the Safe has, or the Safe itself.
const (
	Danger Level = "danger"
	Notice Level = "notice"
)

// Warning is something about a transaction that a signer should know. Codes are
// a promise: they are added, not changed.
type Warning struct {
	Code  string `json:"code"`
	Level Level  `json:"level"`
	Text  string `json:"text"`
}

// Warnings says what a signer should know about a transaction of a Safe. others
// are the transactions that are proposed besides; s may be nil, where there is no
// chain: what needs it is left out then.
func Warnings(a Account, s *Snapshot, t *Transaction, others []*Transaction) []Warning {
	w := &watch{account: a, snapshot: s}
	d := Decode(t.Data)
	if t.Operation == DelegateCall && !trustedDelegate(t.To) {
		w.add("delegatecall", Danger, "delegatecall: the code at %s runs with all the powers of the Safe; it can take everything and replace the Safe itself; it is asked for: %s", t.To, d)
	}
	if t.Operation == Call && trustedDelegate(t.To) {
		w.add("multisend-called", Danger, "the multisend is called, and not run by the Safe: the calls within come from it, and what is sent with them is its own")
	}
	w.call(t.Operation, t.To, t.Data, d)
	w.refund(t)
	w.nonce(t, others)
	return w.all
}

type watch struct {
	account  Account
	snapshot *Snapshot
	all      []Warning
}

func (w *watch) add(code string, level Level, format string, args ...any) {
	n := Warning{code, level, fmt.Sprintf(format, args...)}
	if !slices.Contains(w.all, n) {
		w.all = append(w.all, n)
	}
}

// trustedDelegate reports whether the code at an address is known to do no more
// than to run the calls it is given, as calls.
func trustedDelegate(to common.Address) bool {
	for _, all := range multiSendCallOnly {
		if slices.Contains(all, to) {
			return true
		}
	}
	return false
}

// changes are the functions by which a Safe changes itself.
var changes = map[string]struct{ code, text string }{
	"addOwnerWithThreshold": {"owner-change", "adds an owner"},
	"removeOwner":           {"owner-change", "removes an owner"},
	"swapOwner":             {"owner-change", "replaces an owner"},
	"changeThreshold":       {"threshold-change", "changes how many signatures are needed"},
	"enableModule":          {"module-change", "enables a module, which can act for the Safe without any signature"},
	"disableModule":         {"module-change", "disables a module"},
	"setGuard":              {"guard-change", "changes the guard, which can forbid any transaction from now on"},
	"setModuleGuard":        {"guard-change", "changes the guard of modules"},
	"setFallbackHandler":    {"fallback-handler-change", "changes the fallback handler, which answers for the Safe, to signature checks too"},
	"setup":                 {"owner-change", "sets owners and threshold"},
}

// call looks at a call and those within. An unknown function of the Safe itself
// is as much a reason for care as a known one.
func (w *watch) call(op Operation, to common.Address, data []byte, d *Decoded) {
	self := to == w.account.Address && op == Call
	if self && len(data) > 0 {
		if c, ok := changes[name(d.Method)]; ok {
			w.add(c.code, Danger, "%s: %s", c.text, d)
		} else {
			w.add("self-call", Danger, "calls the Safe itself: %s", d)
		}
	}
	if d.Problem != "" {
		w.add("undecodable", Danger, "the calldata is not what it seems: %s", d.Problem)
	}
	switch name(d.Method) {
	case "approve", "increaseAllowance":
		w.allowance(to, d)
	}
	for _, c := range d.Calls {
		if op != DelegateCall && !self { // not the Safe makes it
			w.inner(to, c)
			continue
		}
		if c.Self {
			c.To = w.account.Address
		}
		if c.Operation == DelegateCall {
			w.add("delegatecall", Danger, "delegatecall within: the code at %s runs with all the powers of the Safe; it is asked for: %s", c.To, c.Decoded)
		}
		w.call(c.Operation, c.To, c.Data, c.Decoded)
	}
}

// inner looks at a call that another contract makes, of which those that end at
// the Safe matter: a module's, or a transaction of its own with signatures.
func (w *watch) inner(by common.Address, c InnerCall) {
	if c.Operation == DelegateCall {
		w.add("delegatecall", Danger, "delegatecall within: %s runs the code at %s with all its powers; it is asked for: %s", by, c.To, c.Decoded)
	}
	if c.To == w.account.Address {
		w.call(c.Operation, c.To, c.Data, c.Decoded)
		return
	}
	if c.Decoded.Problem != "" {
		w.add("undecodable", Danger, "the calldata is not what it seems: %s", c.Decoded.Problem)
	}
	for _, d := range c.Decoded.Calls {
		w.inner(c.To, d)
	}
}

// unlimitedBits is the size of allowances that are meant as all there is, from
// 2⁹⁵ up: there are tokens that count in 96 bits.
const unlimitedBits = 96

// allowance warns of letting somebody take as much of a token as there is.
func (w *watch) allowance(token common.Address, d *Decoded) {
	amount, ok := new(big.Int).SetString(d.Arguments[1].Value, 10)
	if ok && amount.BitLen() >= unlimitedBits {
		w.add("unlimited-approval", Danger, "lets %s take any amount of the token %s, at any time", d.Arguments[0].Value, token)
	}
}

// refund warns of who is paid for executing.
func (w *watch) refund(t *Transaction) {
	if t.GasPrice.IsZero() {
		return
	}
	owner := w.snapshot != nil && slices.Contains(w.snapshot.Owners, t.RefundReceiver)
	what := "ether"
	if t.GasToken != (common.Address{}) {
		what = "the token " + t.GasToken.Hex()
	}
	switch {
	case t.RefundReceiver == common.Address{}:
		w.add("refund", Notice, "whoever executes it is paid from the Safe, in %s", what)
	case !owner:
		w.add("refund-to-stranger", Danger, "%s, who is not an owner, is paid from the Safe, in %s", t.RefundReceiver, what)
	}
	limit := new(uint256.Int).Add(&t.SafeTxGas, &t.BaseGas)
	if _, overflow := limit.MulOverflow(limit, &t.GasPrice); overflow || limit.BitLen() > 70 { // over a thousand ether
		w.add("refund-huge", Danger, "the refund can be up to %s wei or units", limit.Dec())
	}
}

// nonce warns of a transaction that cannot be the next.
func (w *watch) nonce(t *Transaction, others []*Transaction) {
	for _, o := range others {
		if o.Nonce == t.Nonce && !o.Equal(t) {
			w.add("nonce-conflict", Notice, "another transaction is proposed for nonce %s: at most one of them can be executed", t.Nonce.Dec())
		}
	}
	if w.snapshot == nil {
		return
	}
	next := w.snapshot.Nonce
	switch {
	case t.Nonce.LtUint64(next):
		w.add("nonce-taken", Notice, "nonce %s is used already; the next is %d", t.Nonce.Dec(), next)
	case t.Nonce.GtUint64(next):
		for n := next; ; n++ {
			if t.Nonce.CmpUint64(n) == 0 {
				break
			}
			if !slices.ContainsFunc(others, func(o *Transaction) bool { return o.Nonce.CmpUint64(n) == 0 }) {
				w.add("nonce-gap", Notice, "nothing is proposed for nonce %d, which comes before this one's %s", n, t.Nonce.Dec())
				break
			}
		}
	}
}
