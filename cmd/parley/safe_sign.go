package main

import (
	"context"
	"fmt"
	"io"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"
	"github.com/spf13/cobra"

	"github.com/parley-im/parley/apps/safe"
	"github.com/parley-im/parley/identity"
)

// walletFlags say with which key an owner signs.
type walletFlags struct {
	keystore, passphraseFile, key string
	ethSign, yes                  bool
}

func (w *walletFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&w.keystore, "keystore", "", "keystore file of the owner's account")
	flags.StringVar(&w.passphraseFile, "keystore-passphrase-file", "", "file with the keystore's passphrase")
	flags.StringVar(&w.key, "key", "", "file with the owner's private key in hex, - for standard input")
	flags.BoolVar(&w.ethSign, "eth-sign", false, "sign as eth_sign does, in place of typed data")
	flags.BoolVar(&w.yes, "yes", false, "sign also what is dangerous")
}

// wallet opens the key that the flags name.
func (a *app) wallet(ctx context.Context, w *walletFlags) (*identity.KeyWallet, error) {
	switch {
	case (w.keystore == "") == (w.key == ""):
		return nil, usagef("say one of --keystore and --key")
	case w.keystore != "":
		return a.keystoreWallet(ctx, w.keystore, w.passphraseFile)
	}
	return a.keyWallet(w.key)
}

func (w *walletFlags) sign(ctx context.Context, wallet *identity.KeyWallet, data apitypes.TypedData, hash common.Hash) (safe.Signature, error) {
	if w.ethSign {
		return safe.SignEthSign(ctx, wallet, hash)
	}
	return safe.Sign(ctx, wallet, data, hash)
}

func (a *app) safeSignCommand(f *safeFlags) *cobra.Command {
	var w walletFlags
	var signature, file, out string
	cmd := &cobra.Command{
		Use:   "sign HASH",
		Short: "Sign a transaction or a message as an owner",
		Long: `Sign shows what is signed, as "safe show" does, and signs it with the owner's key.
What is dangerous (delegatecall, changes of owners, threshold, modules, guard or
fallback handler) is signed only with --yes.

--signature takes a signature that was made elsewhere, by a hardware wallet say, or
by a contract that is an owner, as execTransaction takes it; it is verified.

On a machine without network, --file reads what "safe export" wrote, and --out
writes it again with the signature, for "safe import".`,
		Example: `  parley safe sign 0x41f0 --keystore owner.json
  parley safe sign 0x41f0 --signature 0x5d7a…1b
  parley safe sign 0x41f0 --file treasury.txt --key owner.hex --out signed.txt`,
		Args: cobra.ExactArgs(1),
	}
	w.add(cmd)
	cmd.Flags().StringVar(&signature, "signature", "", "a signature in hex that was made elsewhere")
	cmd.Flags().StringVar(&file, "file", "", "sign what an export says, without profile and network")
	cmd.Flags().StringVar(&out, "out", "", "where the export with the signature goes (default standard output)")
	stay := cmd.Flags().Duration("linger", lingerSend, "without a daemon: how long to stay on the network")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		if signature != "" && (w.keystore != "" || w.key != "") {
			return usagef("--signature needs no key")
		}
		if file != "" {
			return a.signOffline(ctx, &w, args[0], signature, file, out)
		}
		s, hash, err := a.enterAt(ctx, f, args[0])
		if err != nil {
			return err
		}
		defer s.Close()
		data, danger, err := toSign(s.Account(), s, hash)
		if err != nil {
			return err
		}
		_, text, err := a.look(ctx, s, hash)
		if err != nil {
			return err
		}
		fmt.Fprint(a.err, text) // before anybody types a passphrase
		if danger != nil {
			if err := a.refuseDanger(s, danger, w.yes); err != nil {
				return err
			}
		}
		sigs, err := a.signaturesFor(ctx, &w, signature, data, hash)
		if err != nil {
			return err
		}
		if err := s.Confirm(ctx, hash, sigs...); err != nil {
			return err
		}
		if err := a.printSigned(s, hash); err != nil {
			return err
		}
		a.lingers(ctx, s.backend, *stay)
		return nil
	}
	return cmd
}

// printSigned says how far what was signed has come.
func (a *app) printSigned(s *seat, hash common.Hash) error {
	if m, err := s.Message(hash); err == nil {
		return a.print(m, messageEntryLine(m))
	}
	e, err := s.Transaction(hash)
	if err != nil {
		return err
	}
	return a.print(e, entryLine(e))
}

// proposals is a room, or a ledger without a chain.
type proposals interface {
	Transaction(common.Hash) (*safe.Entry, error)
	Message(common.Hash) (*safe.MessageEntry, error)
}

// toSign returns the typed data of what is proposed, and the transaction if it
// is one.
func toSign(account safe.Account, p proposals, hash common.Hash) (apitypes.TypedData, *safe.Transaction, error) {
	if m, err := p.Message(hash); err == nil {
		return m.Message.SafeTypedData(account), nil, nil
	}
	e, err := p.Transaction(hash)
	if err != nil {
		return apitypes.TypedData{}, nil, err
	}
	return e.Transaction.TypedData(account), &e.Transaction, nil
}

// signaturesFor reads a signature that was made elsewhere, or makes one.
func (a *app) signaturesFor(ctx context.Context, w *walletFlags, given string, data apitypes.TypedData, hash common.Hash) ([]safe.Signature, error) {
	if given != "" {
		b, err := hexutil.Decode(given)
		if err != nil {
			return nil, usagef("--signature is not hex: %v", err)
		}
		return safe.ParseSignatures(hash, b)
	}
	wallet, err := a.wallet(ctx, w)
	if err != nil {
		return nil, err
	}
	sig, err := w.sign(ctx, wallet, data, hash)
	return []safe.Signature{sig}, err
}

func (a *app) safeRejectCommand(f *safeFlags) *cobra.Command {
	var w walletFlags
	var replace bool
	cmd := &cobra.Command{
		Use:   "reject HASH",
		Short: "Say as an owner that you will not sign",
		Long: `Reject tells the other owners, over your signature, that you will not sign. It binds
nobody: when so many reject that the others do not suffice, it is shown as rejected.

--replace proposes an empty transaction with the same nonce besides: executed, it
makes the other impossible for good.`,
		Example: `  parley safe reject 0x41f0 --keystore owner.json
  parley safe reject 0x41f0 --replace --keystore owner.json`,
		Args: cobra.ExactArgs(1),
	}
	w.add(cmd)
	cmd.Flags().BoolVar(&replace, "replace", false, "propose and sign an empty transaction with the same nonce")
	stay := cmd.Flags().Duration("linger", lingerSend, "without a daemon: how long to stay on the network")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		s, hash, err := a.enterAt(ctx, f, args[0])
		if err != nil {
			return err
		}
		defer s.Close()
		_, t, err := toSign(s.Account(), s, hash)
		if err != nil {
			return err
		}
		if replace && t == nil {
			return usagef("a message has no nonce that could be taken")
		}
		wallet, err := a.wallet(ctx, &w)
		if err != nil {
			return err
		}
		account := s.Account()
		sig, err := w.sign(ctx, wallet, safe.RejectionTypedData(account, hash), safe.RejectionHash(account, hash))
		if err != nil {
			return err
		}
		if err := s.Reject(ctx, hash, sig); err != nil {
			return err
		}
		if replace {
			empty := &safe.Transaction{To: account.Address, Nonce: t.Nonce}
			sig, err := w.sign(ctx, wallet, empty.TypedData(account), empty.Hash(account))
			if err != nil {
				return err
			}
			o := safe.ProposeOptions{Note: "takes the nonce of " + hash.Hex(), Origin: "parley", Signatures: []safe.Signature{sig}}
			if _, err := s.Propose(ctx, empty, o); err != nil {
				return err
			}
		}
		if err := a.show(ctx, s, hash); err != nil {
			return err
		}
		a.lingers(ctx, s.backend, *stay)
		return nil
	}
	return cmd
}

func (a *app) safeExecuteCommand(f *safeFlags) *cobra.Command {
	var w walletFlags
	var callData bool
	cmd := &cobra.Command{
		Use:   "execute HASH",
		Short: "Send a transaction that has its signatures to the chain",
		Long: `Execute sends the transaction from the account of --keystore or --key, which pays
for the gas and need not be an owner's. What the Safe would refuse is not sent, and
explained. With --calldata nothing is sent: the call is printed, for a relayer.`,
		Example: `  parley safe execute 0x41f0 --keystore owner.json
  parley safe execute 0x41f0 --calldata`,
		Args: cobra.ExactArgs(1),
	}
	w.add(cmd)
	cmd.Flags().BoolVar(&callData, "calldata", false, "print the call in place of sending it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		s, hash, err := a.enterAt(ctx, f, args[0])
		if err != nil {
			return err
		}
		defer s.Close()
		e, err := s.Transaction(hash)
		if err != nil {
			return err
		}
		if e.Outcome != nil {
			return &messageError{fmt.Sprintf("it is %s already, in block %d", e.Status, e.Outcome.Block), errSettled}
		}
		if e.Missing > 0 {
			return &messageError{fmt.Sprintf("%d signatures are missing", e.Missing), errUnsigned}
		}
		data, err := safe.CallData(&e.Transaction, e.Signatures())
		if err != nil {
			return err
		}
		to := s.Account().Address
		if callData {
			return a.print(map[string]any{"to": to, "data": hexutil.Bytes(data)}, fmt.Sprintf("to   %s\ndata %s\n", to, hexutil.Encode(data)))
		}
		wallet, err := a.wallet(ctx, &w)
		if err != nil {
			return err
		}
		done := a.progress("Executing, and waiting for the block")
		_, err = s.chain.Execute(ctx, to, data, wallet)
		done()
		if err != nil {
			return err
		}
		if err := s.Refresh(ctx); err != nil {
			return err
		}
		return a.show(ctx, s, hash)
	}
	return cmd
}

func readBounded(r io.Reader, name string, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(b)) > most {
		err = usagef("%s is larger than %d bytes", name, most)
	}
	return b, err
}
