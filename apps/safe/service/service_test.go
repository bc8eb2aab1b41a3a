package service

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/holiman/uint256"

	"github.com/parley-im/parley/apps/safe"
)

var account = safe.Account{ChainID: 1337, Address: common.HexToAddress("0x5AfE00000000000000000000000000000000000A")}

// owner is a key with its address.
type owner struct {
	key     *ecdsa.PrivateKey
	address common.Address
}

func newOwner(t *testing.T) owner {
	t.Helper()
	key, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return owner{key, crypto.PubkeyToAddress(key.PublicKey)}
}

func (o owner) sign(t *testing.T, hash common.Hash) string {
	t.Helper()
	sig, err := crypto.Sign(hash[:], o.key)
	if err != nil {
		t.Fatal(err)
	}
	sig[64] += 27
	return hexutil.Encode(sig)
}

// fakeRoom keeps what is posted in a real ledger, and has no group and no chain.
type fakeRoom struct {
	account  safe.Account
	ledger   *safe.Ledger
	view     safe.ChainView
	fail     error // of writing
	proposed int
	clock    time.Time
}

func newFake(a safe.Account, owners ...owner) *fakeRoom {
	f := &fakeRoom{account: a, ledger: safe.NewLedger(a), clock: time.Unix(1_700_000_000, 0)}
	f.view.Snapshot = &safe.Snapshot{Account: a, Version: safe.V141, Threshold: 2, Nonce: 5}
	f.view.Outcomes = map[common.Hash]*safe.Outcome{}
	for _, o := range owners {
		f.view.Snapshot.Owners = append(f.view.Snapshot.Owners, o.address)
	}
	return f
}

func (f *fakeRoom) Account() safe.Account          { return f.account }
func (f *fakeRoom) Snapshot() *safe.Snapshot       { return f.view.Snapshot }
func (f *fakeRoom) Transactions() []*safe.Entry    { return f.ledger.Transactions(f.view) }
func (f *fakeRoom) Messages() []*safe.MessageEntry { return f.ledger.Messages(f.view) }

func (f *fakeRoom) Transaction(h common.Hash) (*safe.Entry, error) {
	for _, e := range f.Transactions() {
		if e.Hash == h {
			return e, nil
		}
	}
	return nil, safe.ErrUnknownTransaction
}

func (f *fakeRoom) Message(h common.Hash) (*safe.MessageEntry, error) {
	for _, e := range f.Messages() {
		if e.Hash == h {
			return e, nil
		}
	}
	return nil, safe.ErrUnknownTransaction
}

func (f *fakeRoom) add(i *safe.Item) error {
	i.Account = f.account
	f.clock = f.clock.Add(time.Second)
	return f.ledger.Add(i, f.view.Snapshot.Owners[0], f.clock)
}

func (f *fakeRoom) Propose(ctx context.Context, t *safe.Transaction, o safe.ProposeOptions) (*safe.Entry, error) {
	if f.fail != nil {
		return nil, f.fail
	}
	f.proposed++
	h := t.Hash(f.account)
	if err := f.add(&safe.Item{Proposal: &safe.Proposal{Transaction: *t, Claimed: h, Origin: o.Origin}}); err != nil {
		return nil, err
	}
	if err := f.Confirm(ctx, h, o.Signatures...); err != nil {
		return nil, err
	}
	return f.Transaction(h)
}

func (f *fakeRoom) ProposeMessage(ctx context.Context, m *safe.Message, o safe.ProposeOptions) (*safe.MessageEntry, error) {
	if f.fail != nil {
		return nil, f.fail
	}
	h := m.Hash(f.account)
	if err := f.add(&safe.Item{Message: &safe.MessageProposal{Message: *m, Claimed: h, Origin: o.Origin}}); err != nil {
		return nil, err
	}
	if err := f.Confirm(ctx, h, o.Signatures...); err != nil {
		return nil, err
	}
	return f.Message(h)
}

func (f *fakeRoom) Confirm(_ context.Context, h common.Hash, all ...safe.Signature) error {
	if f.fail != nil {
		return f.fail
	}
	for _, s := range all {
		if !slices.Contains(f.view.Snapshot.Owners, s.Owner) {
			return fmt.Errorf("%w: %s", safe.ErrNotOwner, s.Owner)
		}
		if err := f.add(&safe.Item{Signature: &safe.SignatureItem{Hash: h, Signature: s}}); err != nil {
			return err
		}
	}
	return nil
}

// rig is a service over fake rooms.
type rig struct {
	t       *testing.T
	room    *fakeRoom
	handler http.Handler
	owners  []owner
}

func newRig(t *testing.T, o Options) *rig {
	t.Helper()
	owners := []owner{newOwner(t), newOwner(t), newOwner(t)}
	room := newFake(account, owners...)
	h, err := New([]Room{room}, o)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t, room, h, owners}
}

// ask sends a request, and returns the status and the JSON of the answer.
func (r *rig) ask(method, path string, body any, change ...func(*http.Request)) (int, map[string]any) {
	r.t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			r.t.Fatal(err)
		}
		reader = strings.NewReader(string(raw))
	}
	q := httptest.NewRequest(method, "http://127.0.0.1:8000"+path, reader)
	if body != nil {
		q.Header.Set("Content-Type", "application/json")
	}
	for _, c := range change {
		c(q)
	}
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, q)
	var out map[string]any
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
			r.t.Fatalf("%s %s: %d %q: %v", method, path, w.Code, w.Body, err)
		}
	}
	return w.Code, out
}

func (r *rig) want(status int, method, path string, body any, change ...func(*http.Request)) map[string]any {
	r.t.Helper()
	got, out := r.ask(method, path, body, change...)
	if got != status {
		r.t.Fatalf("%s %s: %d %v, want %d", method, path, got, out, status)
	}
	return out
}

// payment is a transaction and the body by which its first owner proposes it.
func (r *rig) payment(nonce uint64) (*safe.Transaction, map[string]any) {
	t := &safe.Transaction{To: common.HexToAddress("0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045"), Value: *uint256.NewInt(7), Nonce: *uint256.NewInt(nonce)}
	return t, r.body(t, r.owners[0])
}

func (r *rig) body(t *safe.Transaction, by owner) map[string]any {
	h := t.Hash(account)
	m := map[string]any{
		"to": t.To.Hex(), "value": t.Value.Dec(), "data": nil, "operation": t.Operation, "gasToken": t.GasToken.Hex(),
		"safeTxGas": t.SafeTxGas.Dec(), "baseGas": 0, "gasPrice": "0x0", "refundReceiver": nil, "nonce": t.Nonce.Uint64(),
		"contractTransactionHash": h.Hex(), "sender": by.address.Hex(), "signature": by.sign(r.t, h), "origin": "a test",
	}
	if len(t.Data) > 0 {
		m["data"] = hexutil.Encode(t.Data)
	}
	return m
}

var safePath = "/api/v1/safes/" + account.Address.Hex()

const listPath = "/multisig-transactions/"

func TestProposeAndConfirm(t *testing.T) {
	r := newRig(t, Options{})
	tx, _ := r.payment(5)
	tx.Data = []byte{1, 2, 3, 4}
	body := r.body(tx, r.owners[0])
	for _, v := range []string{"v1", "v2"} { // the second time changes nothing
		if out := r.want(201, "POST", strings.Replace(safePath, "v1", v, 1)+listPath, body); out != nil {
			t.Errorf("an answer has a body: %v", out)
		}
	}
	hash := tx.Hash(account)
	got := r.want(200, "GET", "/api/v2/multisig-transactions/"+hash.Hex(), nil)
	for k, want := range map[string]any{
		"safe": account.Address.Hex(), "to": tx.To.Hex(), "value": "7", "data": "0x01020304", "operation": 0.0, "nonce": "5", "safeTxGas": "0",
		"safeTxHash": hash.Hex(), "isExecuted": false, "confirmationsRequired": 2.0, "trusted": true, "origin": "a test",
		"proposer": r.owners[0].address.Hex(), "signatures": nil, "executionDate": nil, "isSuccessful": nil,
	} {
		if got[k] != want {
			t.Errorf("%s is %v, want %v", k, got[k], want)
		}
	}
	if got := r.want(200, "GET", "/api/v1/multisig-transactions/"+hash.Hex()+"/", nil); got["nonce"] != 5.0 {
		t.Errorf("the first version's nonce is %v", got["nonce"])
	}
	second := r.owners[1].sign(t, hash)
	path := "/api/v1/multisig-transactions/" + hash.Hex() + "/confirmations/"
	if out := r.want(201, "POST", path, map[string]any{"signature": second}); out["signature"] != second {
		t.Errorf("answered with %v", out)
	}
	list := r.want(200, "GET", path, nil)
	if list["count"] != 2.0 {
		t.Fatalf("confirmations: %v", list)
	}
	for _, c := range list["results"].([]any) {
		if c := c.(map[string]any); c["owner"] == r.owners[1].address.Hex() && (c["signature"] != second || c["signatureType"] != "EOA") {
			t.Errorf("a confirmation is %v", c)
		}
	}
	got = r.want(200, "GET", "/api/v2/multisig-transactions/"+hash.Hex(), nil)
	e, err := r.room.Transaction(hash)
	if err != nil || e.Status != safe.Ready {
		t.Fatalf("%+v, %v", e, err)
	}
	if all, err := safe.ParseSignatures(hash, hexutil.MustDecode(got["signatures"].(string))); err != nil || len(all) != 2 {
		t.Errorf("the signatures are %v: %v", got["signatures"], err)
	}
	r.room.view.Outcomes[hash] = &safe.Outcome{Success: true, Transaction: common.Hash{9}, Block: 77, Time: time.Unix(1_700_000_100, 0), Executor: r.owners[2].address}
	got = r.want(200, "GET", "/api/v2/multisig-transactions/"+hash.Hex(), nil)
	for k, want := range map[string]any{
		"isExecuted": true, "isSuccessful": true, "blockNumber": 77.0, "transactionHash": common.Hash{9}.Hex(),
		"executor": r.owners[2].address.Hex(), "executionDate": "2023-11-14T22:15:00.000000Z",
	} {
		if got[k] != want {
			t.Errorf("%s is %v, want %v", k, got[k], want)
		}
	}
	r.room.view.Snapshot.Nonce = 6
	r.want(422, "POST", path, map[string]any{"signature": r.owners[2].sign(t, hash)})
}

func TestProposalsRefused(t *testing.T) {
	r := newRig(t, Options{})
	stranger := newOwner(t)
	tx, good := r.payment(5)
	hash := tx.Hash(account)
	high := func() string { // the other signature that the same key and hash have
		b := hexutil.MustDecode(r.owners[0].sign(t, hash))
		s := new(uint256.Int).SetBytes(b[32:64])
		order := uint256.MustFromBig(crypto.S256().Params().N)
		flipped := new(uint256.Int).Sub(order, s).Bytes32()
		copy(b[32:64], flipped[:])
		b[64] = 27 + 28 - b[64]
		return hexutil.Encode(b)
	}()
	_, past := r.payment(4)
	for name, c := range map[string]struct {
		status int
		field  string
		value  any
	}{
		"another hash":            {422, "contractTransactionHash", common.Hash{1}.Hex()},
		"no hash at all":          {422, "contractTransactionHash", "0x12"},
		"another amount":          {422, "value", "8"},
		"another nonce":           {422, "nonce", 6},
		"hash missing":            {422, "contractTransactionHash", nil},
		"signature missing":       {422, "signature", nil},
		"signature empty":         {422, "signature", ""},
		"signature not hex":       {422, "signature", "hello"},
		"signature short":         {422, "signature", "0x00"},
		"signature with high s":   {422, "signature", high},
		"another's signature":     {422, "signature", r.owners[1].sign(t, hash)},
		"signature of other hash": {422, "signature", r.owners[0].sign(t, common.Hash{2})},
		"sender a stranger":       {422, "sender", stranger.address.Hex()},
		"sender without checksum": {422, "sender", strings.ToLower(r.owners[0].address.Hex())},
		"to without checksum":     {422, "to", strings.ToLower(tx.To.Hex())},
		"to missing":              {422, "to", nil},
		"token without checksum":  {422, "gasToken", strings.ToLower(tx.To.Hex())},
		"refund without checksum": {422, "refundReceiver", strings.ToLower(tx.To.Hex())},
		"operation unknown":       {422, "operation", 2},
		"data not hex":            {422, "data", "0xzz"},
		"value negative":          {400, "value", "-1"},
		"value a fraction":        {400, "value", 1.5},
		"value too large":         {400, "value", "115792089237316195423570985008687907853269984665640564039457584007913129639936"},
		"value no number":         {400, "value", "seven"},
		"value a list":            {400, "value", []int{7}},
		"value missing":           {422, "value", nil},
		"nonce missing":           {422, "nonce", nil},
		"operation missing":       {422, "operation", nil},
		"origin too long":         {422, "origin", strings.Repeat("x", safe.MaxOrigin+1)},
	} {
		body := maps.Clone(good)
		body[c.field] = c.value
		before := len(r.room.Transactions())
		status, out := r.ask("POST", safePath+listPath, body)
		if status != c.status || len(out) == 0 {
			t.Errorf("%s: %d %v, want %d", name, status, out, c.status)
		}
		if len(r.room.Transactions()) != before {
			t.Errorf("%s: it was proposed", name)
		}
	}
	r.want(422, "POST", safePath+listPath, past)
	r.want(400, "POST", safePath+listPath, "{")
	r.want(400, "POST", safePath+listPath, "[]")
	r.want(413, "POST", safePath+listPath, `{"to":"`+strings.Repeat("x", maxBody)+`"}`)
	r.want(415, "POST", safePath+listPath, good, func(q *http.Request) { q.Header.Set("Content-Type", "text/plain") })
	if len(r.room.Transactions()) != 0 {
		t.Errorf("proposed: %v", r.room.Transactions())
	}
	r.want(201, "POST", safePath+listPath, good)
}

func TestConfirmationsRefused(t *testing.T) {
	r := newRig(t, Options{})
	tx, body := r.payment(5)
	r.want(201, "POST", safePath+listPath, body)
	hash := tx.Hash(account)
	path := "/api/v1/multisig-transactions/" + hash.Hex() + "/confirmations/"
	r.want(422, "POST", path, map[string]any{"signature": newOwner(t).sign(t, hash)})
	r.want(422, "POST", path, map[string]any{"signature": r.owners[1].sign(t, common.Hash{1})})
	r.want(422, "POST", path, map[string]any{"signature": "0x"})
	r.want(422, "POST", path, map[string]any{})
	r.want(400, "POST", path, `{"signature":1}`)
	unknown := "/api/v1/multisig-transactions/" + common.Hash{1}.Hex()
	r.want(404, "POST", unknown+"/confirmations/", map[string]any{"signature": r.owners[1].sign(t, common.Hash{1})})
	r.want(404, "GET", unknown+"/confirmations/", nil)
	r.want(404, "GET", unknown+"/", nil)
	r.want(404, "GET", "/api/v1/multisig-transactions/0x12/", nil)
	if e, err := r.room.Transaction(hash); err != nil || len(e.Confirmations) != 1 {
		t.Errorf("%+v, %v", e, err)
	}
}

// What goes wrong in the room is told as far as the client can mend it.
func TestRoomErrors(t *testing.T) {
	r := newRig(t, Options{})
	_, body := r.payment(5)
	for _, c := range []struct {
		err    error
		status int
	}{
		{safe.ErrNoRoom, 409},
		{&safe.StrangersError{}, 409},
		{fmt.Errorf("%w: refused", safe.ErrChain), 503},
		{fmt.Errorf("%w: x", safe.ErrNotOwner), 422},
		{&safe.LieError{}, 422},
		{fmt.Errorf("a secret"), 500},
	} {
		r.room.fail = c.err
		out := r.want(c.status, "POST", safePath+listPath, body)
		if strings.Contains(fmt.Sprint(out), "secret") {
			t.Errorf("told: %v", out)
		}
	}
}

func TestLists(t *testing.T) {
	r := newRig(t, Options{})
	var hashes []string
	for nonce := uint64(5); nonce < 10; nonce++ {
		tx, body := r.payment(nonce)
		r.want(201, "POST", safePath+listPath, body)
		hashes = append(hashes, tx.Hash(account).Hex())
	}
	first, _ := r.payment(5)
	r.room.view.Outcomes[first.Hash(account)] = &safe.Outcome{Success: true}
	nonces := func(query string) string {
		t.Helper()
		out := r.want(200, "GET", strings.Replace(safePath, "v1", "v2", 1)+listPath+query, nil)
		var all []string
		for _, e := range out["results"].([]any) {
			all = append(all, e.(map[string]any)["nonce"].(string))
		}
		return strings.Join(all, " ")
	}
	for query, want := range map[string]string{
		"":                                   "9 8 7 6 5",
		"?ordering=nonce":                    "5 6 7 8 9",
		"?ordering=-created":                 "9 8 7 6 5",
		"?ordering=modified":                 "5 6 7 8 9",
		"?executed=true":                     "5",
		"?executed=false":                    "9 8 7 6",
		"?executed=false&nonce__gte=8":       "9 8",
		"?nonce__gt=6&nonce__lt=9":           "8 7",
		"?nonce__lte=6":                      "6 5",
		"?nonce=7":                           "7",
		"?limit=2":                           "9 8",
		"?limit=2&offset=3":                  "6 5",
		"?offset=99":                         "",
		"?has_confirmations=true&limit=1":    "9",
		"?has_confirmations=false":           "",
		"?trusted=false&limit=1":             "9",
		"?queued=false":                      "",
		"?safe_tx_hash=" + hashes[1]:         "6",
		"?to=" + first.To.Hex() + "&limit=1": "9",
		"?to=" + account.Address.Hex():       "",
	} {
		if got := nonces(query); got != want {
			t.Errorf("%q: nonces %q, want %q", query, got, want)
		}
	}
	out := r.want(200, "GET", safePath+listPath+"?limit=2&offset=2&ordering=nonce", nil)
	if out["count"] != 5.0 || out["countUniqueNonce"] != 5.0 ||
		out["next"] != "http://127.0.0.1:8000"+safePath+listPath+"?limit=2&offset=4&ordering=nonce" ||
		out["previous"] != "http://127.0.0.1:8000"+safePath+listPath+"?limit=2&offset=0&ordering=nonce" {
		t.Errorf("a page is %v", out)
	}
	for _, bad := range []string{"?limit=x", "?offset=-1", "?ordering=to", "?executed=maybe", "?nonce=x", "?to=0x12", "?safe_tx_hash=1", "?moon=full"} {
		r.want(400, "GET", safePath+listPath+bad, nil)
	}
	all := r.want(200, "GET", safePath+"/all-transactions/?limit=1", nil)
	if e := all["results"].([]any)[0].(map[string]any); e["txType"] != "MULTISIG_TRANSACTION" || len(e["transfers"].([]any)) != 0 {
		t.Errorf("all transactions: %v", e)
	}
}

const typedText = `{"types":{"EIP712Domain":[{"name":"name","type":"string"}],"Mail":[{"name":"text","type":"string"}]},` +
	`"primaryType":"Mail","domain":{"name":"Post"},"message":{"text":"hello"}}`

func TestMessages(t *testing.T) {
	r := newRig(t, Options{})
	text, err := safe.TextMessage("I am we")
	if err != nil {
		t.Fatal(err)
	}
	typed, err := safe.ParseTypedMessage([]byte(typedText))
	if err != nil {
		t.Fatal(err)
	}
	path := safePath + "/messages/"
	for _, m := range []safe.Message{text, typed} {
		hash := m.Hash(account)
		r.want(201, "POST", path, map[string]any{"message": m, "signature": r.owners[0].sign(t, hash), "safeAppId": 1})
		got := r.want(200, "GET", "/api/v1/messages/"+hash.Hex(), nil)
		if got["messageHash"] != hash.Hex() || got["safe"] != account.Address.Hex() || len(got["confirmations"].([]any)) != 1 || got["proposedBy"] != r.owners[0].address.Hex() {
			t.Errorf("a message is %v", got)
		}
		r.want(201, "POST", "/api/v1/messages/"+hash.Hex()+"/signatures/", map[string]any{"signature": r.owners[1].sign(t, hash)})
		e, err := r.room.Message(hash)
		if err != nil || e.Status != safe.Ready {
			t.Fatalf("%+v, %v", e, err)
		}
		if got := r.want(200, "GET", "/api/v1/messages/"+hash.Hex()+"/", nil); got["preparedSignature"] != hexutil.Encode(e.Signature) {
			t.Errorf("prepared: %v", got)
		}
	}
	got := r.want(200, "GET", path+"?ordering=created", nil)
	results := got["results"].([]any)
	if got["count"] != 2.0 || results[0].(map[string]any)["message"] != "I am we" {
		t.Errorf("messages: %v", got)
	}
	if m, ok := results[1].(map[string]any)["message"].(map[string]any); !ok || m["primaryType"] != "Mail" {
		t.Errorf("typed data came as %v", results[1])
	}
	sig := r.owners[0].sign(t, text.Hash(account))
	for name, body := range map[string]any{
		"no message":          map[string]any{"signature": sig},
		"message a number":    map[string]any{"message": 1, "signature": sig},
		"message is not data": map[string]any{"message": map[string]any{}, "signature": sig},
		"too long":            map[string]any{"message": strings.Repeat("x", safe.MaxMessage+1), "signature": sig},
		"no signature":        map[string]any{"message": "I am we"},
		"another's message":   map[string]any{"message": "I am they", "signature": sig},
		"a stranger's":        map[string]any{"message": "I am we", "signature": newOwner(t).sign(t, text.Hash(account))},
	} {
		if status, out := r.ask("POST", path, body); status != 422 {
			t.Errorf("%s: %d %v", name, status, out)
		}
	}
	r.want(404, "GET", "/api/v1/messages/"+common.Hash{1}.Hex(), nil)
	r.want(404, "POST", "/api/v1/messages/"+common.Hash{1}.Hex()+"/signatures/", map[string]any{"signature": sig})
	r.want(400, "GET", path+"?ordering=nonce", nil)
	r.want(400, "GET", path+"?moon=full", nil)
}

func TestSafes(t *testing.T) {
	r := newRig(t, Options{Version: "9"})
	other := newFake(safe.Account{ChainID: 1337, Address: common.Address{7}}, r.owners[0])
	h, err := New([]Room{r.room, other}, Options{Version: "9"})
	if err != nil {
		t.Fatal(err)
	}
	r.handler = h
	if got := r.want(200, "GET", "/api/v1/about", nil); got["version"] != "9" {
		t.Errorf("about: %v", got)
	}
	got := r.want(200, "GET", safePath, nil)
	if got["nonce"] != "5" || got["threshold"] != 2.0 || got["version"] != "1.4.1" || len(got["owners"].([]any)) != 3 || len(got["modules"].([]any)) != 0 {
		t.Errorf("a Safe is %v", got)
	}
	for i, want := range map[int]int{0: 2, 1: 1} {
		if got := r.want(200, "GET", "/api/v1/owners/"+r.owners[i].address.Hex()+"/safes/", nil); len(got["safes"].([]any)) != want {
			t.Errorf("owner %d: %v", i, got)
		}
	}
	tx, body := r.payment(5)
	r.want(201, "POST", safePath+listPath, body)
	if got := r.want(200, "GET", "/api/v1/safes/"+other.account.Address.Hex()+listPath, nil); got["count"] != 0.0 {
		t.Errorf("the other Safe has %v", got)
	}
	// The same transaction in the other Safe has another hash.
	r.want(422, "POST", "/api/v1/safes/"+other.account.Address.Hex()+listPath, body)
	if _, err := other.Transaction(tx.Hash(account)); err == nil {
		t.Error("it is in both")
	}
	for _, path := range []string{"", listPath, "/messages/", "/all-transactions/"} {
		r.want(404, "GET", "/api/v1/safes/"+common.Address{1}.Hex()+path, nil)
		got := r.want(422, "GET", strings.ToLower(safePath)+path, nil)
		if got["message"] != "Checksum address validation failed" {
			t.Errorf("told: %v", got)
		}
	}
	r.want(404, "POST", "/api/v1/safes/"+common.Address{1}.Hex()+listPath, body)
	r.want(422, "GET", "/api/v1/owners/bob/safes/", nil)

	for _, rooms := range [][]Room{nil, {r.room, r.room}, {r.room, newFake(safe.Account{ChainID: 1, Address: common.Address{7}})}} {
		if _, err := New(rooms, Options{}); err == nil {
			t.Errorf("%d rooms go together", len(rooms))
		}
	}
}

func TestNotOffered(t *testing.T) {
	r := newRig(t, Options{})
	for _, path := range []string{"/api/v1/delegates/", "/api/v2/delegates", "/api/v2/delegates/" + account.Address.Hex() + "/", safePath + "/incoming-transfers/", safePath + "/creation/"} {
		if got := r.want(501, "GET", path, nil); got["detail"] == "" {
			t.Errorf("%s: %v", path, got)
		}
	}
	r.want(501, "POST", "/api/v2/delegates/", map[string]any{})
	r.want(501, "DELETE", "/api/v2/delegates/"+account.Address.Hex(), map[string]any{})
	r.want(501, "POST", safePath+"/multisig-transactions/estimations/", map[string]any{})
	r.want(501, "DELETE", "/api/v1/multisig-transactions/"+common.Hash{1}.Hex(), nil)
	r.want(405, "DELETE", safePath, nil)
	r.want(405, "PUT", safePath+listPath, map[string]any{})
	r.want(404, "GET", "/", nil)
	r.want(404, "GET", "/api/v3/about/", nil)
	r.want(404, "GET", "/v1/about/", nil)
}

// A web page reaches loopback under a name of its own (DNS rebinding), or by a
// request that browsers send without asking.
func TestWebPages(t *testing.T) {
	r := newRig(t, Options{Origins: []string{"https://app.example"}})
	host := func(h string) func(*http.Request) { return func(q *http.Request) { q.Host = h } }
	origin := func(o string) func(*http.Request) { return func(q *http.Request) { q.Header.Set("Origin", o) } }
	for _, h := range []string{"evil.example", "evil.example:8000", "127.0.0.1.evil.example", "10.0.0.1", "", "localhost.evil.example", "0.0.0.0:8000"} {
		r.want(421, "GET", "/api/v1/about/", nil, host(h))
	}
	for _, h := range []string{"localhost", "localhost:8000", "127.0.0.1", "127.0.0.9:1", "[::1]:8000"} {
		r.want(200, "GET", "/api/v1/about/", nil, host(h))
	}
	_, body := r.payment(5)
	for _, o := range []string{"https://evil.example", "null", "http://app.example", "https://app.example.evil.example"} {
		r.want(403, "GET", safePath, nil, origin(o))
		r.want(403, "POST", safePath+listPath, body, origin(o))
		r.want(403, "OPTIONS", safePath+listPath, nil, origin(o))
	}
	if r.room.proposed != 0 {
		t.Error("a page has proposed")
	}
	r.want(204, "OPTIONS", safePath+listPath, nil, origin("https://app.example"))
	r.want(201, "POST", safePath+listPath, body, origin("https://app.example"))
	q := httptest.NewRequest("GET", "http://localhost/api/v1/about/", nil)
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, q)
	if got := w.Header().Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("who does not ask is told of %q", got)
	}
}

func TestServe(t *testing.T) {
	r := newRig(t, Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, l, r.handler) }()
	res, err := http.Get("http://" + l.Addr().String() + "/api/v1/about/")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("answered %v", res)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	open, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := Serve(t.Context(), open, r.handler); err == nil {
		t.Error("it is served to everybody")
	}
}

// The document lists the routes, all of them and no others, and the fields that
// answers have.
func TestOpenAPI(t *testing.T) {
	r := newRig(t, Options{})
	doc := r.want(200, "GET", "/api/openapi.json", nil)
	var listed, notOffered []string
	for path, ops := range doc["paths"].(map[string]any) {
		for method := range ops.(map[string]any) {
			listed = append(listed, strings.ToUpper(method)+" "+path)
		}
	}
	for _, p := range doc["x-not-offered"].([]any) {
		notOffered = append(notOffered, p.(string))
	}
	var routes, refused []string
	for _, one := range (&service{}).routes() {
		path := strings.TrimSuffix(one.path, "{$}")
		if one.method == "" {
			refused = append(refused, path)
		} else {
			routes = append(routes, one.method+" "+path)
		}
	}
	for _, c := range [][2][]string{{listed, routes}, {notOffered, refused}} {
		slices.Sort(c[0])
		slices.Sort(c[1])
		if !slices.Equal(c[0], c[1]) {
			t.Errorf("the document has\n%s\nand there are\n%s", strings.Join(c[0], "\n"), strings.Join(c[1], "\n"))
		}
	}
	schemas := doc["components"].(map[string]any)["schemas"].(map[string]any)
	fields := func(name string, got any) {
		t.Helper()
		want := slices.Sorted(maps.Keys(schemas[name].(map[string]any)["properties"].(map[string]any)))
		have := slices.Sorted(maps.Keys(got.(map[string]any)))
		if !slices.Equal(want, have) {
			t.Errorf("%s has\n%v\nand the document\n%v", name, have, want)
		}
	}
	tx, body := r.payment(5)
	fields("Proposal", body)
	r.want(201, "POST", safePath+listPath, body)
	m, err := safe.TextMessage("x")
	if err != nil {
		t.Fatal(err)
	}
	r.want(201, "POST", safePath+"/messages/", map[string]any{"message": m, "signature": r.owners[0].sign(t, m.Hash(account))})
	hash := tx.Hash(account).Hex()
	fields("About", r.want(200, "GET", "/api/v1/about", nil))
	fields("Safe", r.want(200, "GET", safePath, nil))
	fields("Safes", r.want(200, "GET", "/api/v1/owners/"+account.Address.Hex()+"/safes", nil))
	fields("TransactionV1", r.want(200, "GET", "/api/v1/multisig-transactions/"+hash, nil))
	fields("TransactionV2", r.want(200, "GET", "/api/v2/multisig-transactions/"+hash, nil))
	fields("TransactionListV1", r.want(200, "GET", safePath+listPath, nil))
	fields("AllTransactionsV1", r.want(200, "GET", safePath+"/all-transactions/", nil))
	confirmations := r.want(200, "GET", "/api/v1/multisig-transactions/"+hash+"/confirmations", nil)
	fields("ConfirmationList", confirmations)
	fields("Confirmation", confirmations["results"].([]any)[0])
	messages := r.want(200, "GET", safePath+"/messages", nil)
	fields("MessageList", messages)
	fields("Message", messages["results"].([]any)[0])
}

// FuzzProposal: whatever is posted, nothing is proposed under a hash that it
// does not have.
func FuzzProposal(f *testing.F) {
	f.Add([]byte(`{"to":"0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045","value":"0x1","operation":0,"nonce":1,"contractTransactionHash":"0x","sender":"x","signature":"0x","data":"0x00"}`))
	f.Add([]byte(`{"value":"0x","nonce":null,"gasPrice":1e3}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p proposal
		if json.Unmarshal(b, &p) != nil {
			return
		}
		tx, err := p.transaction()
		if err != nil {
			return
		}
		if tx.To.Hex() != p.To || tx.Operation > safe.DelegateCall {
			t.Errorf("read %+v", tx)
		}
		again, err := json.Marshal(map[string]any{"value": tx.Value.Dec(), "nonce": tx.Nonce.Hex()})
		if err != nil {
			t.Fatal(err)
		}
		var q proposal
		if err := json.Unmarshal(again, &q); err != nil || q.Value.Int != p.Value.Int || q.Nonce.Int != p.Nonce.Int {
			t.Errorf("%s is read as %+v: %v", again, q, err)
		}
	})
}
