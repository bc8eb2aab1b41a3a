package service

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/holiman/uint256"

	"github.com/parley-im/parley/apps/safe"
)

// version is of the API: the second writes all amounts as strings.
type version int

const (
	v1 version = 1
	v2 version = 2
)

func (v version) number(n uint256.Int) any {
	if v == v1 {
		return json.Number(n.Dec())
	}
	return n.Dec()
}

// proposal is the body by which a transaction is proposed.
type proposal struct {
	To             string   `json:"to"`
	Value          quantity `json:"value"`
	Data           *string  `json:"data"`
	Operation      quantity `json:"operation"`
	GasToken       *string  `json:"gasToken"`
	SafeTxGas      quantity `json:"safeTxGas"`
	BaseGas        quantity `json:"baseGas"`
	GasPrice       quantity `json:"gasPrice"`
	RefundReceiver *string  `json:"refundReceiver"`
	Nonce          quantity `json:"nonce"`
	Claimed        string   `json:"contractTransactionHash"`
	Sender         string   `json:"sender"`
	Signature      *string  `json:"signature"`
	Origin         *string  `json:"origin"`
}

// transaction returns the ten fields, of which the amounts of gas may be left
// out.
func (p *proposal) transaction() (*safe.Transaction, error) {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"to", p.To != ""},
		{"value", p.Value.set},
		{"operation", p.Operation.set},
		{"nonce", p.Nonce.set},
		{"contractTransactionHash", p.Claimed != ""},
		{"sender", p.Sender != ""},
		{"signature", p.Signature != nil},
	} {
		if !f.set {
			return nil, invalid(f.name, "This field is required.")
		}
	}
	t := &safe.Transaction{
		Value: p.Value.Int, SafeTxGas: p.SafeTxGas.Int, BaseGas: p.BaseGas.Int, GasPrice: p.GasPrice.Int, Nonce: p.Nonce.Int,
		Operation: safe.Operation(p.Operation.Uint64()),
	}
	if p.Operation.GtUint64(uint64(safe.DelegateCall)) {
		return nil, invalid("operation", "It is 0 (call) or 1 (delegatecall).")
	}
	for _, f := range []struct {
		name  string
		value *string
		to    *common.Address
	}{{"to", &p.To, &t.To}, {"gasToken", p.GasToken, &t.GasToken}, {"refundReceiver", p.RefundReceiver, &t.RefundReceiver}} {
		if f.value == nil {
			continue
		}
		a, ok := parseAddress(*f.value)
		if !ok {
			return nil, invalid(f.name, fmt.Sprintf("Address %.60s is not checksumed", *f.value))
		}
		*f.to = a
	}
	if p.Data != nil && *p.Data != "" {
		var err error
		if t.Data, err = hexutil.Decode(*p.Data); err != nil {
			return nil, invalid("data", "It is not hex behind 0x.")
		}
	}
	return t, nil
}

// propose takes a transaction with its sender's signature, works out its hash,
// and sends both to the owners.
func (s *service) propose(r *http.Request) (*reply, error) {
	room, err := s.room(r)
	if err != nil {
		return nil, err
	}
	var p proposal
	if err := readBody(r, &p); err != nil {
		return nil, err
	}
	t, err := p.transaction()
	if err != nil {
		return nil, err
	}
	hash := t.Hash(room.Account())
	if claimed, ok := parseHash(p.Claimed); !ok || claimed != hash {
		return nil, unprocessable(fmt.Sprintf("Contract-transaction-hash=%s does not match provided contract-tx-hash=%.80s", hash, p.Claimed))
	}
	at := room.Snapshot()
	if t.Nonce.LtUint64(at.Nonce) {
		return nil, unprocessable(fmt.Sprintf("Nonce=%s too low, Safe has the nonce %d: it was used already", t.Nonce.Dec(), at.Nonce))
	}
	sender, ok := parseAddress(p.Sender)
	if !ok {
		return nil, invalid("sender", fmt.Sprintf("Address %.60s is not checksumed", p.Sender))
	}
	if !slices.Contains(at.Owners, sender) {
		return nil, unprocessable(fmt.Sprintf("Sender=%s is not an owner of the Safe. Current owners=%v", sender, hexes(at.Owners)))
	}
	signatures, err := readSignatures(hash, *p.Signature)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(signatures, func(s safe.Signature) bool { return s.Owner == sender }) {
		return nil, unprocessable(fmt.Sprintf("Signature does not match sender=%s. Calculated owner=%s", sender, signatures[0].Owner))
	}
	o := safe.ProposeOptions{Claimed: hash, Signatures: signatures}
	if p.Origin != nil {
		o.Origin = *p.Origin
	}
	ctx, cancel := posting(r)
	defer cancel()
	if _, err := room.Propose(ctx, t, o); err != nil {
		return nil, err
	}
	return &reply{http.StatusCreated, nil}, nil
}

// transactions lists a Safe's.
func (s *service) transactions(v version) handler {
	return func(r *http.Request) (*reply, error) {
		p, err := s.list(r, func(room Room) func(*safe.Entry) map[string]any {
			return func(e *safe.Entry) map[string]any { return v.transaction(room, e) }
		})
		if err != nil {
			return nil, err
		}
		return ok(p)
	}
}

// allTransactions lists a Safe's too: those of its owners are all that is known
// here.
func (s *service) allTransactions(v version) handler {
	return func(r *http.Request) (*reply, error) {
		p, err := s.list(r, func(room Room) func(*safe.Entry) map[string]any {
			return func(e *safe.Entry) map[string]any {
				m := v.transaction(room, e)
				m["txType"], m["transfers"] = "MULTISIG_TRANSACTION", []any{}
				return m
			}
		})
		if err != nil {
			return nil, err
		}
		p.CountUniqueNonce = nil
		return ok(p)
	}
}

func (s *service) list(r *http.Request, show func(Room) func(*safe.Entry) map[string]any) (*page, error) {
	room, err := s.room(r)
	if err != nil {
		return nil, err
	}
	all := slices.Clone(room.Transactions())
	nonces := map[uint256.Int]bool{}
	for _, e := range all {
		nonces[e.Transaction.Nonce] = true
	}
	q := r.URL.Query()
	if all, err = filter(q, room, all); err != nil {
		return nil, err
	}
	p, err := paginate(r, all, show(room))
	if err != nil {
		return nil, err
	}
	unique := len(nonces)
	p.CountUniqueNonce = &unique
	return p, nil
}

// filter keeps the transactions that a client asks for, in the order it asks for.
func filter(q url.Values, room Room, all []*safe.Entry) ([]*safe.Entry, error) {
	comparisons := map[string]func(c int) bool{
		"nonce":      func(c int) bool { return c == 0 },
		"nonce__gt":  func(c int) bool { return c > 0 },
		"nonce__gte": func(c int) bool { return c >= 0 },
		"nonce__lt":  func(c int) bool { return c < 0 },
		"nonce__lte": func(c int) bool { return c <= 0 },
	}
	known := []string{"executed", "trusted", "has_confirmations", "queued", "to", "safe_tx_hash", "ordering"}
	for name := range comparisons {
		known = append(known, name)
	}
	if err := knownQuery(q, known...); err != nil {
		return nil, err
	}
	keep := func(want func(*safe.Entry) bool) {
		all = slices.DeleteFunc(all, func(e *safe.Entry) bool { return !want(e) })
	}
	for name, holds := range comparisons {
		if s := q.Get(name); s != "" {
			n, err := uint256.FromDecimal(s)
			if err != nil {
				return nil, badRequest(fmt.Sprintf("The parameter %s is not a number.", name))
			}
			keep(func(e *safe.Entry) bool { return holds(e.Transaction.Nonce.Cmp(n)) })
		}
	}
	for name, is := range map[string]func(*safe.Entry) bool{
		"executed":          func(e *safe.Entry) bool { return e.Outcome != nil },
		"has_confirmations": func(e *safe.Entry) bool { return len(counting(e)) > 0 },
		"trusted":           func(e *safe.Entry) bool { return len(counting(e)) > 0 },
	} {
		value, set, err := flag(q, name)
		if err != nil {
			return nil, err
		}
		// Where it is not true, "trusted" asks for the others as well.
		if set && (value || name != "trusted") {
			keep(func(e *safe.Entry) bool { return is(e) == value })
		}
	}
	queued, set, err := flag(q, "queued")
	if err != nil {
		return nil, err
	}
	if set && !queued {
		now := room.Snapshot().Nonce
		keep(func(e *safe.Entry) bool { return e.Transaction.Nonce.LtUint64(now) })
	}
	if s := q.Get("to"); s != "" {
		to, ok := parseAddress(s)
		if !ok {
			return nil, badRequest("The parameter to is not an address with its checksum.")
		}
		keep(func(e *safe.Entry) bool { return e.Transaction.To == to })
	}
	if s := q.Get("safe_tx_hash"); s != "" {
		hash, ok := parseHash(s)
		if !ok {
			return nil, badRequest("The parameter safe_tx_hash is not a hash.")
		}
		keep(func(e *safe.Entry) bool { return e.Hash == hash })
	}
	return all, order(q, all, map[string]func(a, b *safe.Entry) int{
		"nonce":    func(a, b *safe.Entry) int { return a.Transaction.Nonce.Cmp(&b.Transaction.Nonce) },
		"created":  func(a, b *safe.Entry) int { return a.Proposed.Compare(b.Proposed) },
		"modified": func(a, b *safe.Entry) int { return a.Modified.Compare(b.Modified) },
	})
}

// find returns a transaction by the hash in a request's path, and its room.
func (s *service) find(r *http.Request) (Room, *safe.Entry, error) {
	hash, err := pathHash(r)
	if err != nil {
		return nil, nil, err
	}
	for _, room := range s.rooms {
		if e, err := room.Transaction(hash); err == nil {
			return room, e, nil
		}
	}
	return nil, nil, errNotFound
}

func (s *service) transaction(v version) handler {
	return func(r *http.Request) (*reply, error) {
		room, e, err := s.find(r)
		if err != nil {
			return nil, err
		}
		return ok(v.transaction(room, e))
	}
}

func (s *service) confirmations(r *http.Request) (*reply, error) {
	_, e, err := s.find(r)
	if err != nil {
		return nil, err
	}
	if err := knownQuery(r.URL.Query()); err != nil {
		return nil, err
	}
	p, err := paginate(r, counting(e), showConfirmation)
	if err != nil {
		return nil, err
	}
	return ok(p)
}

// confirm takes owners' signatures over a transaction.
func (s *service) confirm(r *http.Request) (*reply, error) {
	room, e, err := s.find(r)
	if err != nil {
		return nil, err
	}
	if e.Transaction.Nonce.LtUint64(room.Snapshot().Nonce) {
		return nil, unprocessable(fmt.Sprintf("Transaction with safe-tx-hash=%s cannot be confirmed: its nonce was used", e.Hash))
	}
	return s.sign(r, room, e.Hash)
}

// sign takes the signatures in a request's body, and answers with the same.
func (s *service) sign(r *http.Request, room Room, hash common.Hash) (*reply, error) {
	var body struct {
		Signature string `json:"signature"`
	}
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	signatures, err := readSignatures(hash, body.Signature)
	if err != nil {
		return nil, err
	}
	ctx, cancel := posting(r)
	defer cancel()
	if err := room.Confirm(ctx, hash, signatures...); err != nil {
		return nil, err
	}
	return &reply{http.StatusCreated, map[string]string{"signature": body.Signature}}, nil
}

// counting returns an entry's confirmations that are fit to be used; those of a
// transaction that was executed also by who is no owner any more.
func counting(e *safe.Entry) []safe.Confirmation {
	return slices.DeleteFunc(slices.Clone(e.Confirmations), func(c safe.Confirmation) bool {
		return !c.Counts && (e.Outcome == nil || c.Signature.OnChain())
	})
}

func showConfirmation(c safe.Confirmation) map[string]any {
	return map[string]any{
		"owner": c.Signature.Owner.Hex(), "submissionDate": date(c.Time), "transactionHash": nil, "confirmationType": nil,
		"signature": packed([]safe.Confirmation{c}), "signatureType": c.Signature.Kind.String(),
	}
}

// packed is signatures in hex, as the Safe takes them, or null for none.
func packed(all []safe.Confirmation) any {
	signatures := make([]safe.Signature, len(all))
	for i, c := range all {
		signatures[i] = c.Signature
	}
	b, err := safe.PackSignatures(signatures)
	if err != nil {
		return nil
	}
	return hexutil.Encode(b)
}

// transaction shows an entry.
func (v version) transaction(room Room, e *safe.Entry) map[string]any {
	t, confirmed, threshold := &e.Transaction, counting(e), room.Snapshot().Threshold
	m := map[string]any{
		"safe": room.Account().Address.Hex(), "to": t.To.Hex(), "value": t.Value.Dec(), "data": nil, "operation": t.Operation,
		"gasToken": t.GasToken.Hex(), "safeTxGas": v.number(t.SafeTxGas), "baseGas": v.number(t.BaseGas), "gasPrice": t.GasPrice.Dec(),
		"refundReceiver": t.RefundReceiver.Hex(), "nonce": v.number(t.Nonce), "safeTxHash": e.Hash.Hex(),
		"submissionDate": date(e.Proposed), "modified": date(e.Modified), "proposer": firstOf(e.Proposers), "proposedByDelegate": nil,
		"origin": e.Origin, "dataDecoded": decoded(safe.Decode(t.Data)), "confirmationsRequired": threshold, "trusted": len(confirmed) > 0,
		"isExecuted": e.Outcome != nil, "isSuccessful": nil, "executionDate": nil, "blockNumber": nil, "transactionHash": nil, "executor": nil,
		"ethGasPrice": nil, "maxFeePerGas": nil, "maxPriorityFeePerGas": nil, "gasUsed": nil, "fee": nil, "payment": nil, "signatures": nil,
	}
	if len(t.Data) > 0 {
		m["data"] = hexutil.Encode(t.Data)
	}
	if o := e.Outcome; o != nil {
		m["isSuccessful"], m["executionDate"], m["blockNumber"] = o.Success, date(o.Time), o.Block
		m["transactionHash"], m["executor"] = o.Transaction.Hex(), o.Executor.Hex()
	}
	if uint64(len(confirmed)) >= threshold {
		m["signatures"] = packed(confirmed)
	}
	shown := make([]any, len(confirmed))
	for i, c := range confirmed {
		shown[i] = showConfirmation(c)
	}
	m["confirmations"] = shown
	return m
}

// decoded shows calldata, or null where it is not understood.
func decoded(d *safe.Decoded) any {
	if d == nil || d.Method == "" || d.Problem != "" {
		return nil
	}
	name, _, _ := strings.Cut(d.Method, "(")
	parameters := []map[string]any{}
	for _, a := range d.Arguments {
		parameters = append(parameters, map[string]any{"name": a.Name, "type": a.Type, "value": a.Value})
	}
	if name == "multiSend" && len(parameters) == 1 {
		calls := []any{}
		for _, c := range d.Calls {
			calls = append(calls, map[string]any{
				"operation": c.Operation, "to": c.To.Hex(), "value": c.Value.Dec(), "data": hexutil.Encode(c.Data), "dataDecoded": decoded(c.Decoded),
			})
		}
		parameters[0]["valueDecoded"] = calls
	}
	return map[string]any{"method": name, "parameters": parameters}
}
