package main

import (
	"bytes"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
	"github.com/spf13/cobra"

	"github.com/parley-im/parley/apps/safe"
)

func (a *app) safeHashCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "hash FILE|-",
		Short: "Work out the hashes of a transaction, offline",
		Long: `Hash reads a transaction in JSON and prints what a hardware wallet shows for it, so
that anybody can check what a device or a website says. It needs no profile, no
group and no chain. The file has

  {"chainId", "safe", "version", "to", "value", "data", "operation", "safeTxGas",
   "baseGas", "gasPrice", "gasToken", "refundReceiver", "nonce"}

where numbers may be decimal or 0x strings, or JSON numbers.`,
		Example: `  parley safe hash transaction.json
  curl -s https://service.example/… | jq '{…}' | parley safe hash - --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := a.fileOrInput(args[0])
			if err != nil {
				return err
			}
			account, _, t, err := safe.ReadHashFile(bytes.NewReader(b))
			if err != nil {
				return err
			}
			domain, message, hash := account.DomainHash(), t.MessageHash(), t.Hash(account)
			return a.print(struct {
				Domain  common.Hash `json:"domainHash"`
				Message common.Hash `json:"messageHash"`
				Hash    common.Hash `json:"safeTxHash"`
			}{domain, message, hash}, fmt.Sprintf("domain hash   %s\nmessage hash  %s\nsafeTxHash    %s\n", domain, message, hash))
		},
	}
}
