package transport

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/zeroconf/v2"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// Discovery of peers on the local network, as libp2p's mDNS specification has it,
// under a service name of the network's own. libp2p's implementation is not used:
// it starts a dial for everything that anybody announces, tells of a peer once in
// an hour, fails where nothing is listened on, and does not close where a family
// of addresses has no multicast.
const (
	defaultMDNSRound = time.Minute // a browse starts anew, and tells of everybody anew
	maxMDNSDials     = 8           // at one time; who is left out is told of again
	maxMDNSAddrs     = 16          // in one announcement

	mdnsPort    = 4001 // an SRV record must have one, and nobody looks at it
	mdnsAddress = "dnsaddr="
)

// runMDNS announces the node's addresses and dials who is announced. A machine
// can come to a network later, or change it: each round looks at its interfaces
// anew. It ends with the node.
func (n *Node) runMDNS() {
	service := "_parley-" + strings.ReplaceAll(n.opts.Network, ".", "-") + "._udp"
	instance := strings.ToLower(rand.Text() + rand.Text())
	var server *zeroconf.Server
	var announced []string
	warned := false
	for n.done.Err() == nil {
		ctx, cancel := context.WithTimeout(n.done, n.opts.mdnsRound)
		ifaces, names := multicastInterfaces()
		txt, ips := n.mdnsAddrs()
		now := append(names, txt...)
		if server != nil && !slices.Equal(now, announced) {
			server.Shutdown()
			server = nil
		}
		announced = now
		var err error
		switch {
		case len(ifaces) == 0:
			err = errors.New("no interface with multicast")
		case server == nil && len(txt) > 0:
			server, err = zeroconf.RegisterProxy(instance, service, "local", mdnsPort, instance, ips, txt, ifaces)
			if err != nil {
				server = nil
			}
		}
		if len(ifaces) > 0 {
			err = errors.Join(err, n.browse(ctx, service, ifaces))
		}
		if err != nil && !warned {
			n.opts.Logger.Warn("transport: mDNS", "err", err)
		}
		warned = err != nil
		<-ctx.Done() // a browse that failed came back at once
		cancel()
	}
	if server != nil {
		server.Shutdown()
	}
}

// multicastInterfaces returns what can be announced on, and its names.
func multicastInterfaces() (ifaces []net.Interface, names []string) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, nil
	}
	const usable = net.FlagUp | net.FlagMulticast
	for _, i := range all {
		if i.Flags&usable == usable {
			ifaces, names = append(ifaces, i), append(names, i.Name)
		}
	}
	return ifaces, names
}

// mdnsAddrs returns what the node announces: the addresses it listens on as the
// values of TXT records, and an IP of each family for the A and AAAA records that
// must be there.
func (n *Node) mdnsAddrs() (txt, ips []string) {
	addrs, err := n.host.Network().InterfaceListenAddresses()
	if err != nil {
		return nil, nil
	}
	// Those that others can use come first: there may be too many.
	slices.SortStableFunc(addrs, func(a, b ma.Multiaddr) int {
		switch la, lb := manet.IsIPLoopback(a), manet.IsIPLoopback(b); {
		case la && !lb:
			return 1
		case lb && !la:
			return -1
		}
		return 0
	})
	var families [2]bool
	for _, a := range addrs {
		ip, family := addrIP(a)
		if ip == "" || len(txt) == maxMDNSAddrs {
			continue
		}
		txt = append(txt, mdnsAddress+a.String()+"/p2p/"+n.ID().String())
		if !families[family] {
			families[family] = true
			ips = append(ips, ip)
		}
	}
	return txt, ips
}

// addrIP returns the IP that an address begins with, or "", and 0 for IPv4 or 1
// for IPv6.
func addrIP(a ma.Multiaddr) (ip string, family int) {
	first, _ := ma.SplitFirst(a)
	switch {
	case first == nil:
	case first.Protocol().Code == ma.P_IP4:
		return first.Value(), 0
	case first.Protocol().Code == ma.P_IP6:
		return first.Value(), 1
	}
	return "", 0
}

// browse asks who is there, and listens until the context ends. Where one family
// of addresses has no multicast, the other is enough.
func (n *Node) browse(ctx context.Context, service string, ifaces []net.Interface) (err error) {
	for _, family := range []zeroconf.IPType{zeroconf.IPv4AndIPv6, zeroconf.IPv4, zeroconf.IPv6} {
		entries := make(chan *zeroconf.ServiceEntry)
		over := make(chan struct{})
		go func() {
			defer close(over)
			err = zeroconf.Browse(ctx, service, "local", entries,
				zeroconf.SelectIPTraffic(family), zeroconf.SelectIfaces(ifaces))
		}()
		// It is read from until Browse has returned, which may or may not
		// close it.
		for reading := true; reading; {
			select {
			case e, ok := <-entries:
				if !ok {
					entries = nil
					continue
				}
				for _, info := range parseAnnouncement(e.Text) {
					n.found(info)
				}
			case <-over:
				reading = false
			}
		}
		if err == nil || ctx.Err() != nil {
			return nil
		}
	}
	return err
}

// parseAnnouncement returns whom the TXT records of an announcement name. Anybody
// on the local network can make one: only IP addresses with a peer id count, and
// only the first maxMDNSAddrs.
func parseAnnouncement(txt []string) []peer.AddrInfo {
	var addrs []ma.Multiaddr
	for _, s := range txt[:min(len(txt), maxMDNSAddrs)] {
		s, ok := strings.CutPrefix(s, mdnsAddress)
		if !ok {
			continue
		}
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			continue
		}
		if ip, _ := addrIP(a); ip == "" {
			continue
		}
		if rest, id := peer.SplitAddr(a); rest != nil && id != "" {
			addrs = append(addrs, a)
		}
	}
	infos, err := peer.AddrInfosFromP2pAddrs(addrs...)
	if err != nil {
		return nil
	}
	return infos
}

// found dials a peer of the local network that is neither the node itself nor
// connected, unless enough are being dialled already. It does not wait.
func (n *Node) found(info peer.AddrInfo) {
	if info.ID == n.ID() || n.connected(info.ID) || !n.enter() {
		return
	}
	select {
	case n.mdnsDials <- struct{}{}:
	default:
		n.wg.Done()
		return
	}
	go func() {
		defer n.wg.Done()
		defer func() { <-n.mdnsDials }()
		if err := n.dial(n.done, info); err != nil {
			n.opts.Logger.Debug("transport: peer on the local network", "peer", info.ID, "err", err)
		}
	}()
}
