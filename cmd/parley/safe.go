package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/spf13/cobra"

	"github.com/parley-im/parley/apps/safe"
	"github.com/parley-im/parley/identity"
)

// safeFlags say which Safe a command is about.
type safeFlags struct {
	safe  string // an address, or the name given at open
	chain uint64
}

func (a *app) safeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "safe",
		Short: "Coordinate the signers of a Safe",
		Long: `The owners of a Safe (versions 1.3.0, 1.4.1 and 1.5.0) propose, check, sign and
execute its transactions in a group of their own. Nobody else learns that there is
one. Every client works out for itself what it is shown: hashes, signatures and
calldata.

"safe open" makes the group, or finds it, and remembers the Safe and its RPC
endpoint in the profile. The other commands are about that Safe, or the one that
--safe names when there are several.`,
		Example: `  parley safe open --chain 1 --rpc https://rpc.example 0x1234567890AbcdEF1234567890aBcdef12345678 --name treasury
  parley safe propose --to bob.eth --value 0.5eth --note "invoice 7"
  parley safe list
  parley safe sign 0x41f0… --keystore owner.json
  parley safe execute 0x41f0… --keystore owner.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	f := new(safeFlags)
	cmd.PersistentFlags().StringVar(&f.safe, "safe", "", "which Safe: its address, or the name it was opened by")
	cmd.PersistentFlags().Uint64Var(&f.chain, "chain", 0, "id of the chain; an RPC endpoint of another is refused")
	cmd.AddCommand(a.safeOpenCommand(f), a.safeProposeCommand(f), a.safeListCommand(f), a.safeShowCommand(f), a.safeSignCommand(f),
		a.safeRejectCommand(f), a.safeExecuteCommand(f), a.safeExportCommand(f), a.safeImportCommand(f), a.safeMessageCommand(f),
		a.safeWatchCommand(f), a.safeServeCommand(f), a.safeHashCommand())
	return cmd
}

// knownSafe is what the profile remembers of a Safe.
type knownSafe struct {
	Account safe.Account `json:"-"`
	Name    string       `json:"name"`
	RPC     string       `json:"rpc"`
}

// accountKey is the key under which the profile remembers a Safe, and its way
// back.
func accountKey(a safe.Account) string { return a.String() }

func parseAccountKey(s string) (a safe.Account, ok bool) {
	var address string
	n, err := fmt.Sscanf(s, "eip155:%d:%s", &a.ChainID, &address)
	a.Address = common.HexToAddress(address)
	return a, err == nil && n == 2 && accountKey(a) == s
}

// knownSafes returns what the profile remembers.
func knownSafes(ctx context.Context, b backend) ([]knownSafe, error) {
	keys, err := b.AppDataKeys(ctx, safe.Namespace)
	if err != nil {
		return nil, err
	}
	var all []knownSafe
	for _, key := range keys {
		account, ok := parseAccountKey(key)
		if !ok {
			continue
		}
		value, err := b.AppData(ctx, safe.Namespace, key)
		if err != nil {
			return nil, err
		}
		k := knownSafe{Account: account}
		if err := json.Unmarshal(value, &k); err != nil {
			return nil, fmt.Errorf("settings of %s: %w", key, err)
		}
		all = append(all, k)
	}
	return all, nil
}

func remember(ctx context.Context, b backend, k knownSafe) error {
	value, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return b.SetAppData(ctx, safe.Namespace, accountKey(k.Account), value)
}

// which finds the Safe that a command is about among those remembered.
func (f *safeFlags) which(all []knownSafe) (knownSafe, error) {
	var fit []knownSafe
	for _, k := range all {
		named := f.safe == "" || f.safe == k.Name || strings.EqualFold(f.safe, k.Account.Address.Hex()) || f.safe == k.Account.String()
		if named && (f.chain == 0 || f.chain == k.Account.ChainID) {
			fit = append(fit, k)
		}
	}
	switch {
	case len(fit) == 1:
		return fit[0], nil
	case len(all) == 0:
		return knownSafe{}, &messageError{"no Safe was opened by this profile (parley safe open does)", safe.ErrNoRoom}
	case len(fit) == 0:
		return knownSafe{}, &messageError{fmt.Sprintf("this profile has opened no Safe %q", f.safe), safe.ErrNoRoom}
	}
	var names []string
	for _, k := range fit {
		names = append(names, fmt.Sprintf("%s (%s)", printable(k.Name), k.Account))
	}
	return knownSafe{}, usagef("which Safe? Say --safe (and --chain) for one of %s", strings.Join(names, ", "))
}

// seat is a room, and what it stands on, for the length of a command.
type seat struct {
	*safe.Room
	known   knownSafe
	backend backend
	chain   *safe.Chain
	names   map[common.Address]string
}

func (s *seat) Close() error {
	s.chain.Close()
	return s.backend.Close()
}

// enter finds the room of the Safe that a command is about, up to date.
func (a *app) enter(ctx context.Context, f *safeFlags) (*seat, error) {
	b, err := a.open(ctx, online)
	if err != nil {
		return nil, err
	}
	s, err := a.enterWith(ctx, f, b)
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return s, nil
}

// enterAt is enter for a command about one transaction or message, whose hash a
// person may have cut.
func (a *app) enterAt(ctx context.Context, f *safeFlags, arg string) (*seat, common.Hash, error) {
	s, err := a.enter(ctx, f)
	if err != nil {
		return nil, common.Hash{}, err
	}
	hash, err := parseHash(arg, s.hashes())
	if err != nil {
		return nil, common.Hash{}, errors.Join(err, s.Close())
	}
	return s, hash, nil
}

func (a *app) enterWith(ctx context.Context, f *safeFlags, b backend) (*seat, error) {
	all, err := knownSafes(ctx, b)
	if err != nil {
		return nil, err
	}
	k, err := f.which(all)
	if err != nil {
		return nil, err
	}
	if a.rpc != "" { // for this once
		k.RPC = a.rpc
	}
	chain, err := a.dialChain(ctx, k.RPC, k.Account.ChainID)
	if err != nil {
		return nil, err
	}
	done := a.progress("Reading the group and the chain")
	room, err := safe.Find(ctx, b, chain, k.Account.Address)
	done()
	if err != nil {
		chain.Close()
		return nil, err
	}
	return &seat{Room: room, known: k, backend: b, chain: chain, names: memberNames(room)}, nil
}

func (a *app) dialChain(ctx context.Context, url string, want uint64) (*safe.Chain, error) {
	if url == "" {
		return nil, usagef("an RPC endpoint of the Safe's chain is needed: say --rpc URL")
	}
	defer a.progress("Connecting to the chain")()
	chain, err := safe.DialChain(ctx, url)
	if err != nil {
		return nil, err
	}
	if want != 0 {
		if err := chain.Expect(want); err != nil {
			chain.Close()
			return nil, err
		}
	}
	return chain, nil
}

// memberNames are the names of a room's members, by checked reverse records.
func memberNames(r *safe.Room) map[common.Address]string {
	names := map[common.Address]string{}
	g, err := r.Group()
	if err != nil {
		return names
	}
	for _, m := range g.Members {
		if m.Name != "" {
			names[common.HexToAddress(m.Address)] = m.Name
		}
	}
	return names
}

// who is an address, with its name if it has one.
func (s *seat) who(a common.Address) string {
	if s != nil {
		if n := s.names[a]; n != "" {
			return fmt.Sprintf("%s (%s)", printable(n), a.Hex())
		}
	}
	return a.Hex()
}

func (a *app) safeOpenCommand(f *safeFlags) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "open SAFE",
		Short: "Make or join the group of a Safe's owners",
		Long: `Open reads the Safe on its chain, finds the group that is bound to it, or makes one
and invites the other owners. Owners who cannot be reached, because they have no
parley profile yet or nobody has their keys, are named; they are invited when open
is called again, or by "safe watch". You must be an owner.`,
		Example: `  parley safe open --chain 1 --rpc https://rpc.example 0x1234567890AbcdEF1234567890aBcdef12345678 --name treasury`,
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&name, "name", "", "what to call the Safe and its group")
	stay := cmd.Flags().Duration("linger", lingerChange, "without a daemon: how long to stay on the network, so that the others hear of it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		address, err := parseAddress(args[0])
		if err != nil {
			return err
		}
		b, err := a.open(ctx, online)
		if err != nil {
			return err
		}
		defer b.Close()
		k := knownSafe{Name: name, RPC: a.or(a.rpc, "PARLEY_RPC")}
		if all, err := knownSafes(ctx, b); err == nil { // opened before: what is not said stays
			for _, o := range all {
				if o.Account.Address == address && (f.chain == 0 || o.Account.ChainID == f.chain) {
					if k.RPC == "" {
						k.RPC = o.RPC
					}
					if k.Name == "" {
						k.Name = o.Name
					}
				}
			}
		}
		chain, err := a.dialChain(ctx, k.RPC, f.chain)
		if err != nil {
			return err
		}
		defer chain.Close()
		done := a.progress("Reading the Safe, and inviting its owners")
		room, err := safe.Open(ctx, b, chain, address, safe.OpenOptions{Name: k.Name})
		done()
		if err != nil {
			return err
		}
		k.Account = room.Account()
		if k.Name == "" {
			if g, err := room.Group(); err == nil {
				k.Name = g.Name
			}
		}
		if err := remember(ctx, b, k); err != nil {
			return err
		}
		s := &seat{Room: room, known: k, names: memberNames(room)}
		if err := a.print(openedOf(s), openedText(s)); err != nil {
			return err
		}
		a.lingers(ctx, b, *stay)
		return nil
	}
	return cmd
}

// opened is what open prints.
type opened struct {
	Safe    string `json:"safe"`
	ChainID uint64 `json:"chainId"`
	Name    string `json:"name"`
	Group   string `json:"group,omitempty"`
	*safe.Snapshot
	Absent map[string]string `json:"absent"`
}

func openedOf(s *seat) opened {
	o := opened{s.Account().Address.Hex(), s.Account().ChainID, s.known.Name, "", s.Snapshot(), map[string]string{}}
	if g, err := s.Group(); err == nil {
		o.Group = g.ID
	}
	for owner, err := range s.Absent() {
		o.Absent[owner.Hex()] = err.Error()
	}
	return o
}

func openedText(s *seat) string {
	var b strings.Builder
	snap := s.Snapshot()
	fmt.Fprintf(&b, "%s is a Safe %s at %s\n", printable(s.known.Name), snap.Version, s.Account())
	fmt.Fprintf(&b, "  %d of %d owners sign, the next nonce is %d, at block %d\n", snap.Threshold, len(snap.Owners), snap.Nonce, snap.Block)
	absent := s.Absent()
	for _, o := range snap.Owners {
		switch err := absent[o]; {
		case o == s.Self():
			fmt.Fprintf(&b, "  owner %s, you\n", s.who(o))
		case err != nil:
			fmt.Fprintf(&b, "  owner %s is not in the group: %s\n", s.who(o), printable(err.Error()))
		default:
			fmt.Fprintf(&b, "  owner %s\n", s.who(o))
		}
	}
	for _, m := range snap.Modules {
		fmt.Fprintf(&b, "  module %s can act for the Safe without any signature\n", m)
	}
	if snap.MoreModules {
		b.WriteString("  and so can more modules than are shown\n")
	}
	if snap.Guard != (common.Address{}) {
		fmt.Fprintf(&b, "  guard %s can forbid transactions\n", snap.Guard)
	}
	return b.String()
}

func parseAddress(s string) (common.Address, error) {
	a, err := identity.ParseAddress(s)
	if err != nil {
		return common.Address{}, &messageError{fmt.Sprintf("%s: %v", printable(s), err), err}
	}
	return common.Address(a), nil
}

// parseHash finds the transaction or message that a person means by the
// beginning of its hash.
func parseHash(s string, all []common.Hash) (common.Hash, error) {
	want := strings.ToLower(strings.TrimPrefix(s, "0x"))
	if len(want) < 4 || len(want) > 64 || strings.Trim(want, "0123456789abcdef") != "" {
		return common.Hash{}, usagef("%q is not a hash, nor its first 4 digits or more", s)
	}
	fit := slices.DeleteFunc(slices.Clone(all), func(h common.Hash) bool { return !strings.HasPrefix(h.Hex()[2:], want) })
	switch len(fit) {
	case 0:
		return common.Hash{}, &messageError{fmt.Sprintf("nothing with the hash %s is proposed", s), safe.ErrUnknownTransaction}
	case 1:
		return fit[0], nil
	}
	return common.Hash{}, usagef("%d hashes begin with %s: say more digits", len(fit), s)
}

// hashes returns those of all that is proposed.
func (s *seat) hashes() []common.Hash {
	var all []common.Hash
	for _, e := range s.Transactions() {
		all = append(all, e.Hash)
	}
	for _, e := range s.Messages() {
		all = append(all, e.Hash)
	}
	return all
}
