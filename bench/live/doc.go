// Package live measures what stands between the sockets of live media: the program's
// gateways beside a bare forwarder, a relay that reads and writes one packet a call, and
// socat. Everything runs on loopback, each forwarder in a process of its own on one core,
// load generator and sink on another:
//
//	go test -run '^$' -bench . -benchtime 1x ./bench/live
//
// The forwarders run side by side and are measured in turn, five rounds (-rounds), and
// medians are given. packets/s is what one core forwards: packets by the CPU time of the
// forwarder's process. p50-us, p99-us and p99.9-us are latencies at half of the rate that
// the forwarder reached, from the send call until the kernel has the packet at the sink's
// socket (SO_TIMESTAMPNS): when the sink gets to read it is not the forwarder's doing.
// direct is the same without a forwarder: what a gateway adds is the difference.
//
// BenchmarkFlood has somebody flood a gateway with what does not authenticate, and says what
// that costs good packets and memory.
//
// -only picks forwarders. On a machine that others use, too, -fifo gives forwarders
// real-time priority (root): otherwise the figures are those of the others' time slices.
package live
