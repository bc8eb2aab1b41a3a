package identity_test

import (
	"context"
	"fmt"
	"time"

	"github.com/parley-im/parley/identity"
)

// An account authorises its first device, and a stranger checks that.
func Example() {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	wallet, err := identity.ParseHexKey("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318")
	if err != nil {
		panic(err)
	}
	device, err := identity.NewDevice()
	if err != nil {
		panic(err)
	}
	account := identity.KeyAccount(wallet.Address())
	log, err := identity.AuthorizeDevice(context.Background(), identity.NewLog(account), wallet, device,
		identity.Authorization{Name: "laptop", NotBefore: now})
	if err != nil {
		panic(err)
	}

	seen, err := identity.ParseLog(log.Marshal())
	if err != nil {
		panic(err)
	}
	for _, d := range seen.Devices(now) {
		fmt.Println(seen.Account(), "has", d.Name)
	}
	// Output: 0x2c7536E3605D9C16a7a3D7b1898e529396a65c23 has laptop
}
