// Package netfault is a TCP proxy on loopback that makes the network as slow, as unreliable or as dead as a test needs
// it.
//
//	p, err := netfault.Listen(server.Addr())
//	...
//	defer p.Close()
//	p.SetRoundTrip(time.Millisecond) // connect to p.Addr() instead of the server
//
// Some faults act once, on the connections that exist ([Proxy.Cut], [Proxy.Reset],
// [Proxy.Forget]); the others last until they are
// taken back ([Proxy.SetRoundTrip], [Proxy.Stall], [Proxy.Refuse]). A proxy never changes, drops or reorders bytes of a
// live connection. If one side closes or resets it, the other side sees that too, in order with the bytes.
package netfault
