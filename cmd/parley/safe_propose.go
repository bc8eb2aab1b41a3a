package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/holiman/uint256"
	"github.com/spf13/cobra"

	"github.com/parley-im/parley/apps/safe"
	"github.com/parley-im/parley/identity"
)

// maxSafeFile bounds what is read of a file with a proposal, a message or an
// export, in bytes.
const maxSafeFile = 32 << 20

func (a *app) safeProposeCommand(f *safeFlags) *cobra.Command {
	var to, value, data, token, amount, builder, nonce, note string
	var delegate, sign bool
	var w walletFlags
	cmd := &cobra.Command{
		Use:   "propose",
		Short: "Propose a transaction to the other owners",
		Long: `Propose sends a transaction to the other owners: ether, calldata, an ERC-20
transfer, or a batch file of the Safe's Transaction Builder. --to takes an address
or an ENS name of the Safe's chain. Amounts have a unit: 0.5eth, 20gwei, 100wei;
of a token they are counted in its own decimals.`,
		Example: `  parley safe propose --to bob.eth --value 0.5eth --note "invoice 7"
  parley safe propose --to 0x52b7d2dcc80cd2e4000000c6c5b5e4b5a3d3a1b1 --data 0xa9059cbb…
  parley safe propose --token 0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48 --to bob.eth --amount 250
  parley safe propose --builder batch.json --sign --keystore owner.json`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.StringVar(&to, "to", "", "whom the Safe pays or calls: an address or a name")
	flags.StringVar(&value, "value", "0", "ether to send, such as 0.5eth")
	flags.StringVar(&data, "data", "", "calldata in hex")
	flags.BoolVar(&delegate, "delegatecall", false, "run the code at --to with all the powers of the Safe")
	flags.StringVar(&token, "token", "", "address of an ERC-20 token to transfer")
	flags.StringVar(&amount, "amount", "", "how much of the token, in its decimals")
	flags.StringVar(&builder, "builder", "", "batch file of the Transaction Builder, - for standard input")
	flags.StringVar(&nonce, "nonce", "", "nonce (default the first for which nothing is proposed)")
	flags.StringVar(&note, "note", "", "what the other owners are told about it")
	flags.BoolVar(&sign, "sign", false, "sign it too")
	w.add(cmd)
	stay := cmd.Flags().Duration("linger", lingerSend, "without a daemon: how long to stay on the network")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		if (builder == "") == (to == "") {
			return usagef("say --to, or --builder")
		}
		s, err := a.enter(ctx, f)
		if err != nil {
			return err
		}
		defer s.Close()
		var t *safe.Transaction
		switch {
		case builder != "":
			t, err = a.fromBuilder(ctx, builder, s)
		default:
			t, err = a.compose(ctx, s, to, value, data, token, amount, delegate)
		}
		if err != nil {
			return err
		}
		if t.Nonce, err = chooseNonce(s, nonce); err != nil {
			return err
		}
		o := safe.ProposeOptions{Note: note, Origin: "parley"}
		if sign {
			if err := a.refuseDanger(s, t, w.yes); err != nil {
				return err
			}
			var b strings.Builder
			hashLines(&b, s.Account().DomainHash(), t.MessageHash(), t.Hash(s.Account()), "safeTxHash")
			fmt.Fprint(a.err, b.String()) // before anybody types a passphrase
			wallet, err := a.wallet(ctx, &w)
			if err != nil {
				return err
			}
			sig, err := w.sign(ctx, wallet, t.TypedData(s.Account()), t.Hash(s.Account()))
			if err != nil {
				return err
			}
			o.Signatures = []safe.Signature{sig}
		}
		e, err := s.Propose(ctx, t, o)
		if err != nil {
			return err
		}
		if err := a.show(ctx, s, e.Hash); err != nil {
			return err
		}
		a.lingers(ctx, s.backend, *stay)
		return nil
	}
	return cmd
}

// compose makes a transaction of the flags.
func (a *app) compose(ctx context.Context, s *seat, to, value, data, token, amount string, delegate bool) (*safe.Transaction, error) {
	recipient, err := a.recipient(ctx, s, to)
	if err != nil {
		return nil, err
	}
	t := &safe.Transaction{To: recipient}
	if delegate {
		t.Operation = safe.DelegateCall
	}
	if (token == "") != (amount == "") {
		return nil, usagef("--token and --amount belong together")
	}
	if token != "" {
		if data != "" || delegate || value != "0" {
			return nil, usagef("a token's transfer takes --to and --amount alone")
		}
		if t.To, err = parseAddress(token); err != nil {
			return nil, err
		}
		places, err := s.chain.TokenDecimals(ctx, s.Snapshot(), t.To)
		if err != nil {
			return nil, err
		}
		units, err := parseDecimal(amount, int(places))
		if err != nil {
			return nil, err
		}
		t.Data = safe.EncodeTransfer(recipient, units)
		return t, nil
	}
	wei, err := parseEther(value)
	if err != nil {
		return nil, err
	}
	t.Value = *wei
	if data != "" {
		if t.Data, err = hexutil.Decode(data); err != nil {
			return nil, usagef("--data is not hex: %v", err)
		}
	}
	return t, nil
}

// recipient is an address, or an ENS name of the Safe's chain.
func (a *app) recipient(ctx context.Context, s *seat, to string) (common.Address, error) {
	if strings.HasPrefix(to, "0x") || !strings.Contains(to, ".") {
		return parseAddress(to)
	}
	ens, err := identity.DialENS(ctx, s.known.RPC, nil)
	if err != nil {
		return common.Address{}, err
	}
	defer ens.Close()
	defer a.progress("Looking " + short(to) + " up")()
	address, err := ens.Resolve(ctx, to)
	return common.Address(address), err
}

func (a *app) fromBuilder(ctx context.Context, path string, s *seat) (*safe.Transaction, error) {
	b, err := a.fileOrInput(path)
	if err != nil {
		return nil, err
	}
	batch, err := safe.ReadBuilder(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	var multiSend common.Address
	if len(batch.Calls) > 1 {
		if multiSend, err = s.chain.MultiSendCallOnly(ctx, s.Snapshot()); err != nil {
			return nil, err
		}
	}
	t, err := batch.Transaction(s.Account(), multiSend)
	return &t, err
}

// fileOrInput reads a file, or standard input for "-".
func (a *app) fileOrInput(path string) ([]byte, error) {
	if path == "-" {
		return readBounded(a.in, "standard input", maxSafeFile)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readBounded(file, path, maxSafeFile)
}

// chooseNonce reads a nonce, or finds the first for which nothing is proposed.
func chooseNonce(s *seat, given string) (uint256.Int, error) {
	if given != "" {
		n, err := uint256.FromDecimal(given)
		if err != nil {
			return uint256.Int{}, usagef("--nonce %q is not a number", given)
		}
		return *n, nil
	}
	next := s.Snapshot().Nonce
	for taken := true; taken; {
		taken = false
		for _, e := range s.Transactions() {
			if e.Status != safe.Rejected && e.Transaction.Nonce.CmpUint64(next) == 0 {
				next, taken = next+1, true
				break
			}
		}
	}
	return *uint256.NewInt(next), nil
}

// units of ether, and how many places they have.
var units = []struct {
	name   string
	places int
}{{"ether", 18}, {"eth", 18}, {"gwei", 9}, {"wei", 0}}

// parseEther reads an amount with its unit; 0 needs none.
func parseEther(s string) (*uint256.Int, error) {
	if s == "0" {
		return new(uint256.Int), nil
	}
	for _, u := range units {
		if number, ok := strings.CutSuffix(s, u.name); ok {
			return parseDecimal(strings.TrimSpace(number), u.places)
		}
	}
	return nil, usagef("%q has no unit: say eth, gwei or wei", s)
}

// parseDecimal reads a number of units of 10^places, exactly.
func parseDecimal(s string, places int) (*uint256.Int, error) {
	whole, rest, _ := strings.Cut(s, ".")
	digits := whole + rest
	if digits == "" || strings.Trim(digits, "0123456789") != "" || len(digits) > 80 {
		return nil, usagef("%q is not an amount", s)
	}
	if len(rest) > places {
		return nil, usagef("%q has more than %d decimals", s, places)
	}
	n, err := uint256.FromDecimal(strings.TrimLeft(digits+strings.Repeat("0", places-len(rest)), "0") + zeroIfEmpty(digits))
	if err != nil {
		return nil, usagef("%q is too large", s)
	}
	return n, nil
}

// zeroIfEmpty is the digit that trimming zeros leaves none of.
func zeroIfEmpty(digits string) string {
	if strings.Trim(digits, "0") == "" {
		return "0"
	}
	return ""
}

// refuseDanger keeps a person from signing what can cost everything without
// having said so.
func (a *app) refuseDanger(s *seat, t *safe.Transaction, yes bool) error {
	all := s.Warnings(t)
	var b strings.Builder
	warnings(&b, all)
	danger := false
	for _, w := range all {
		danger = danger || w.Level == safe.Danger
	}
	if !danger || yes {
		return nil
	}
	fmt.Fprint(a.err, b.String())
	return &messageError{"not signed: it is dangerous; --yes signs it all the same", errDanger}
}
