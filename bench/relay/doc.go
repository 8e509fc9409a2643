// Package relay measures the cloud proxy beside coturn, in turns, on loopback, each server
// in a process of its own:
//
//	go test -run '^$' -bench . -benchtime 1x -timeout 20m ./bench/relay
//
// BenchmarkCPU has coturn's own client as its load: CPU time of the server's process for
// each message that it relayed (both ways counted), and messages lost. BenchmarkLoad offers
// both servers the same loads, up to and beyond what one core relays, by turns in steps of
// a tenth of a second: its ratio to coturn is the median of those of neighbouring steps, in
// which the machine is as fast for the one as for the other. BenchmarkDelay
// sends at half of the rate that a server reaches and says how much later a packet
// arrives than without a server. BenchmarkAllocations makes allocations as fast as it
// can, and says what each costs in memory. -rounds sets how often each is measured; what
// is reported is the median. -other measures a second build of the proxy in the same
// turns. Debian's package coturn has all that is needed.
package relay
