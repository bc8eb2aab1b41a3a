package transport

import (
	"crypto/rand"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// multicast sends a packet to the group of mDNS on every interface that may carry
// it, and returns nil once one has come back. Otherwise it says why it has not.
func multicast() error {
	group := &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353}
	ifaces, names := multicastInterfaces()
	if len(ifaces) == 0 {
		return fmt.Errorf("no interface is up and has the flag of multicast")
	}
	var why []string
	for i := range ifaces {
		err := echo(group, &ifaces[i])
		if err == nil {
			return nil
		}
		why = append(why, fmt.Sprintf("%s: %v", names[i], err))
	}
	return fmt.Errorf("no packet to %s comes back: %s", group, strings.Join(why, "; "))
}

func echo(group *net.UDPAddr, iface *net.Interface) error {
	in, err := net.ListenMulticastUDP("udp4", iface, group)
	if err != nil {
		return err
	}
	defer in.Close()
	addrs, err := iface.Addrs()
	if err != nil {
		return err
	}
	for _, a := range addrs {
		own, ok := a.(*net.IPNet)
		if !ok || own.IP.To4() == nil {
			continue
		}
		out, err := net.ListenUDP("udp4", &net.UDPAddr{IP: own.IP})
		if err != nil {
			return err
		}
		defer out.Close()
		// A DNS header that is no query, so that nobody answers.
		probe := []byte{0x12, 0x34, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0}
		from := out.LocalAddr().(*net.UDPAddr).Port
		in.SetReadDeadline(time.Now().Add(3 * time.Second))
		buf := make([]byte, 1500)
		for {
			if _, err := out.WriteToUDP(probe, group); err != nil {
				return err
			}
			_, addr, err := in.ReadFromUDP(buf) // others speak here too
			if err != nil {
				return err
			}
			if addr.Port == from {
				return nil
			}
		}
	}
	return fmt.Errorf("it has no IPv4 address")
}

// Nodes of one network find each other by multicast, and again when they have
// lost each other; one of another network is not found.
func TestMDNS(t *testing.T) {
	if err := multicast(); err != nil {
		t.Skipf("this machine has no multicast: %v", err)
	}
	t.Parallel()
	name := strings.ToLower(rand.Text())
	local := func(o *Options) {
		o.MDNS = true
		o.Network = name
		o.mdnsRound = time.Second
	}
	a, b := openNode(t, local), openNode(t, local)
	other := openNode(t, func(o *Options) { local(o); o.Network = name + "-2" })
	// A node that only dials has nothing to announce, and finds all the same.
	dialler := openNode(t, func(o *Options) { local(o); o.Listen = []string{} })
	eventually(t, func() bool { return a.connected(b.ID()) && dialler.connected(a.ID()) && dialler.connected(b.ID()) })
	lost := a.host.Network().ConnsToPeer(b.ID())
	a.host.Network().ClosePeer(b.ID())
	eventually(t, func() bool {
		again := a.host.Network().ConnsToPeer(b.ID())
		return len(again) > 0 && !slices.Contains(lost, again[len(again)-1])
	})
	if peers := other.Peers(); len(peers) != 0 {
		t.Fatalf("a node of another network is connected to %v", peers)
	}
}

// The seam below mDNS, which needs no multicast.
func TestFound(t *testing.T) {
	t.Parallel()
	a, b := openNode(t, nil), openNode(t, nil)
	announced := func(n *Node) (txt []string) {
		for _, addr := range n.Addrs() {
			txt = append(txt, mdnsAddress+addr)
		}
		return txt
	}
	if txt, ips := b.mdnsAddrs(); len(txt) != 1 || txt[0] != announced(b)[0] || len(ips) != 1 || ips[0] != "127.0.0.1" {
		t.Fatalf("announces %q with %q", txt, ips)
	}
	announce := func(txt ...string) {
		for _, info := range parseAnnouncement(txt) {
			a.found(info)
		}
	}
	announce(announced(a)...) // itself
	if got := parseAnnouncement([]string{
		"", "text", mdnsAddress, mdnsAddress + "/ip4/127.0.0.1/udp/1/quic-v1", mdnsAddress + "/p2p/" + b.ID().String(),
		mdnsAddress + "/dns4/localhost/udp/1/quic-v1/p2p/" + b.ID().String(),
	}); len(got) != 0 {
		t.Fatalf("names %v", got)
	}
	// What is not understood does not hide what is.
	if got := parseAnnouncement(append([]string{"text"}, announced(b)...)); len(got) != 1 || got[0].ID != b.ID() {
		t.Fatalf("names %v", got)
	}
	if got := len(a.mdnsDials); got != 0 || len(a.Peers()) != 0 {
		t.Fatalf("%d dials of itself or of nobody", got)
	}
	announce(announced(b)...)
	eventually(t, func() bool { return a.connected(b.ID()) && len(a.mdnsDials) == 0 })
	announce(announced(b)...) // is connected
	if got := len(a.mdnsDials); got != 0 {
		t.Fatalf("%d dials of a peer that is connected", got)
	}
	// A flood of announcements makes no more than so many dials.
	for range 3 * maxMDNSDials {
		announce(mdnsAddress + openSilent(t))
	}
	if got := len(a.mdnsDials); got != maxMDNSDials {
		t.Fatalf("%d dials at one time", got)
	}
	a.Close() // does not wait for them to fail
	announce(announced(b)...)
	if got := len(a.mdnsDials); got != 0 {
		t.Fatalf("%d dials after Close", got)
	}
}

// openSilent returns the address of a peer that takes packets and says nothing.
func openSilent(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1/p2p/%s", conn.LocalAddr().(*net.UDPAddr).Port, randomPeer(t))
}

func randomPeer(t *testing.T) peer.ID {
	t.Helper()
	key, err := newHostKey(testOptions().HostKey)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPublicKey(key.GetPublic())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func FuzzAnnouncement(f *testing.F) {
	const id = "16Uiu2HAm6xre1f1jY3fGrByyFifJkq6QRFcpvEhRpkuXWgfwawsD"
	f.Add(mdnsAddress+"/ip4/192.0.2.1/udp/1/quic-v1/p2p/"+id, mdnsAddress+"/ip6/2001:db8::1/tcp/1/p2p/"+id)
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, info := range parseAnnouncement([]string{a, b}) {
			if len(info.Addrs) == 0 || info.ID.Validate() != nil {
				t.Fatalf("dials %v", info)
			}
			for _, addr := range info.Addrs {
				if ip, _ := addrIP(addr); ip == "" {
					t.Fatalf("dials %v", addr)
				}
			}
		}
	})
}
