// Package live measures what stands between the sockets of live media: the program's
// gateways beside a bare forwarder, a relay that reads and writes one packet a call, and
// socat. Everything runs on loopback, each forwarder in a process of its own on one core,
// load generator and sink on another:
//
//	go test -run '^$' -bench . ./bench/live
//
// packets/s is what one core forwards: packets by the CPU time of the forwarder's
// process. p50-us and p99-us are latencies from the send call to the sink at half of the
// rate that the forwarder reached, and direct is the same without a forwarder: what a
// gateway adds is the difference.
package live
