package engine

// SumBatch computes the tags of several messages side by side. The keys may differ, and so
// may the lengths. Messages go three at a time through the SHA extensions, where
// the others run in the time one's rounds wait for each other; six and more have each
// a lane of a vector, on CPUs where that is faster.
func SumBatch(macs []MAC) {
	if len(macs) >= wideLeast && wideSHA {
		var lanes [wideLanes]macLane
		sumLanes(lanes[:], macs)
		return
	}
	var lanes [3]macLane
	sumLanes(lanes[:], macs)
}

const (
	wideLanes = 8
	wideLeast = 6 // messages that make eight lanes worth their while
)

// canWide says whether shaBlocks8 can run, and wideSHA whether it is used, and the kernels made of its
// code: where a block costs less in a lane of a vector than among three or four in the SHA extensions.
//
// A batch of eight frames of 96 bytes, a frame: on Granite Rapids, where SHA256RNDS2 starts every
// 3 cycles, 109 ns in lanes and 122 in the SHA extensions; on Zen 5, where it starts every 2 and
// vector instructions have a latency of 2, 133 and 111. Zen 4 is taken to be like the latter, but was not
// measured. CPUID decides and no clock: at start-up the vector units may not be awake yet.
var (
	canWide = best == avx512VAES && bestSHA
	wideSHA = canWide && !cpuAMD()
)

// shaLane is what shaBlocks8 reads of a message.
type shaLane struct {
	st *shaState
	p  *byte
}

// sumLanes has as many messages on their way as there are lanes.
func sumLanes(lanes []macLane, macs []MAC) {
	next := 0
	start := func(l *macLane) bool {
		for next < len(macs) {
			m := &macs[next]
			next++
			if m.Key.mid == nil {
				m.Key.sumStd(&m.Out, m.A, m.B, m.C)
				continue
			}
			l.begin(m.Key.mid, &m.Out, m.A, m.B, m.C)
			return true
		}
		return false
	}
	// Lanes with work stand first.
	busy := 0
	for busy < len(lanes) && start(&lanes[busy]) {
		busy++
	}
	for busy > 0 {
		at := busy // how many go on
		if at < wideLeast {
			at = min(at, 3)
		}
		n := lanes[0].blocks
		for i := range lanes[1:at] {
			n = min(n, lanes[1+i].blocks)
		}
		a, b, c := &lanes[0], &lanes[min(1, len(lanes)-1)], &lanes[min(2, len(lanes)-1)]
		switch at {
		case 1:
			shaBlocks(&a.state, a.at(), n)
		case 2:
			shaBlocks2(&a.state, &b.state, a.at(), b.at(), n)
		case 3:
			shaBlocks3(&a.state, &b.state, &c.state, a.at(), b.at(), c.at(), n)
		default:
			n = min(n, maxRunWide)
			var idle shaState
			var in [wideLanes]shaLane
			for i := range in {
				if i < at {
					in[i].st, in[i].p = &lanes[i].state, lanes[i].at()
				} else {
					in[i].st, in[i].p = &idle, in[0].p
				}
			}
			shaBlocks8(&in, n)
		}
		for i := at - 1; i >= 0; i-- {
			l := &lanes[i]
			l.done(n)
			if l.blocks == 0 && !start(l) {
				busy--
				*l = lanes[busy]
				lanes[busy].state = shaState{}
			}
		}
	}
}
