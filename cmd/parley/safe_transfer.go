package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"

	"github.com/parley-im/parley/apps/safe"
)

func (a *app) safeExportCommand(f *safeFlags) *cobra.Command {
	var out string
	var qr bool
	cmd := &cobra.Command{
		Use:   "export [HASH...]",
		Short: "Write what is proposed and signed to a file or QR codes",
		Long: `Export writes transactions and messages with their signatures, all or those named,
as text: for a signer who is offline ("safe sign --file"), or for who is to check
them with the chain alone. --qr shows the text as QR codes, of which each says which
part it is.`,
		Example: `  parley safe export 0x41f0 --out treasury.txt
  parley safe export 0x41f0 --qr`,
	}
	cmd.Flags().StringVar(&out, "out", "", "file to write (default standard output)")
	cmd.Flags().BoolVar(&qr, "qr", false, "show QR codes")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := a.enter(cmd.Context(), f)
		if err != nil {
			return err
		}
		defer s.Close()
		var hashes []common.Hash
		for _, arg := range args {
			hash, err := parseHash(arg, s.hashes())
			if err != nil {
				return err
			}
			hashes = append(hashes, hash)
		}
		return a.writeExport(s.Export(hashes...), out, qr)
	}
	return cmd
}

// writeExport writes items to a new file, to standard output, or as QR codes.
func (a *app) writeExport(items []*safe.Item, out string, qr bool) error {
	length := 0
	if qr {
		length = safe.ExportLine
	}
	lines, err := safe.Export(items, length)
	if err != nil {
		return err
	}
	if qr {
		for i, l := range lines {
			fmt.Fprintf(a.out, "%d of %d\n", i+1, len(lines))
			qrterminal.GenerateHalfBlock(l, qrterminal.L, a.out)
		}
		return nil
	}
	text := strings.Join(lines, "\n") + "\n"
	if out == "" {
		return a.print(map[string]any{"export": lines}, text)
	}
	file, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(out))
	}
	return a.print(map[string]any{"file": out, "items": len(items)}, fmt.Sprintf("wrote %s: %d items\n", out, len(items)))
}

func (a *app) safeImportCommand(f *safeFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import FILE|-",
		Short: "Bring what was exported into the group",
		Long: `Import reads what "safe export" or "safe sign --file" wrote, checks all of it, and
sends to the group what it does not have yet. Lines may come in any order.`,
		Example: `  parley safe import signed.txt
  zbarimg --raw -q *.png | parley safe import -`,
		Args: cobra.ExactArgs(1),
	}
	stay := cmd.Flags().Duration("linger", lingerSend, "without a daemon: how long to stay on the network")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		items, _, err := a.readExport(args[0])
		if err != nil {
			return err
		}
		s, err := a.enter(ctx, f)
		if err != nil {
			return err
		}
		defer s.Close()
		n, err := s.Import(ctx, items)
		if err != nil {
			return err
		}
		if err := a.print(map[string]any{"items": len(items), "new": n}, fmt.Sprintf("%d items, %d of them new\n", len(items), n)); err != nil {
			return err
		}
		a.lingers(ctx, s.backend, *stay)
		return nil
	}
	return cmd
}

func (a *app) readExport(path string) ([]*safe.Item, int, error) {
	text, err := a.fileOrInput(path)
	if err != nil {
		return nil, 0, err
	}
	return safe.ParseExport(text)
}

// offline is what an export says, where there is no chain.
type offline struct {
	*safe.Ledger
	when time.Time
}

// readOffline reads an export, which must be about one Safe.
func (a *app) readOffline(path string) (*offline, error) {
	items, _, err := a.readExport(path)
	if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return nil, &messageError{path + " has nothing in it", safe.ErrExport}
	}
	o := &offline{safe.NewLedger(items[0].Account), time.Now()}
	for _, i := range items {
		if err := o.Add(i, common.Address{}, o.when); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (o *offline) Transaction(hash common.Hash) (*safe.Entry, error) {
	for _, e := range o.Transactions(safe.ChainView{}) {
		if e.Hash == hash {
			e.Proposers = nil // a file does not say who
			return e, nil
		}
	}
	return nil, safe.ErrUnknownTransaction
}

func (o *offline) Message(hash common.Hash) (*safe.MessageEntry, error) {
	for _, m := range o.Messages(safe.ChainView{}) {
		if m.Hash == hash {
			m.Proposers = nil
			return m, nil
		}
	}
	return nil, safe.ErrUnknownTransaction
}

func (o *offline) hashes() []common.Hash {
	var all []common.Hash
	for _, e := range o.Transactions(safe.ChainView{}) {
		all = append(all, e.Hash)
	}
	for _, m := range o.Messages(safe.ChainView{}) {
		all = append(all, m.Hash)
	}
	return all
}

// signOffline signs what an export says and writes it with the signature.
func (a *app) signOffline(ctx context.Context, w *walletFlags, arg, signature, file, out string) error {
	o, err := a.readOffline(file)
	if err != nil {
		return err
	}
	hash, err := parseHash(arg, o.hashes())
	if err != nil {
		return err
	}
	account := o.Account()
	data, t, err := toSign(account, o, hash)
	if err != nil {
		return err
	}
	if t != nil {
		e, _ := o.Transaction(hash)
		fmt.Fprint(a.err, details(nil, account, &shown{e, account.DomainHash(), nil}))
		danger := false
		for _, warning := range e.Warnings {
			danger = danger || warning.Level == safe.Danger
		}
		if danger && !w.yes {
			return &messageError{"not signed: it is dangerous; --yes signs it all the same", errDanger}
		}
	} else {
		m, _ := o.Message(hash)
		fmt.Fprint(a.err, messageDetails(nil, account, m))
	}
	sigs, err := a.signaturesFor(ctx, w, signature, data, hash)
	if err != nil {
		return err
	}
	for _, sig := range sigs {
		item := &safe.Item{Account: account, Signature: &safe.SignatureItem{Hash: hash, Signature: sig}}
		if err := o.Add(item, common.Address{}, o.when); err != nil {
			return err
		}
	}
	return a.writeExport(o.Items(), out, false)
}
