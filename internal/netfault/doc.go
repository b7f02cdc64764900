// Package netfault is a TCP proxy on loopback that makes a network as far away, as unreliable or as dead as a test needs
// it.
//
//	p, err := netfault.Listen(server.Addr())
//	...
//	defer p.Close()
//	p.SetRoundTrip(time.Millisecond) // connect to p.Addr() instead of the server
//
// Faults act on the connections of the moment ([Proxy.Cut], [Proxy.Reset]) or last until they are taken back
// ([Proxy.SetRoundTrip], [Proxy.Stall], [Proxy.Refuse]). A proxy never changes, drops or reorders bytes of a connection
// that lives, and hands on how a side ended: what one side closed or reset, the other sees closed or reset, in its turn.
package netfault
