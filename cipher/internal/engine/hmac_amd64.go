//go:build amd64 && !purego

package engine

//go:noescape
func shaBlocks(st *shaState, p *byte, n int)

//go:noescape
func shaBlocks2(sa, sb *shaState, pa, pb *byte, n int)

//go:noescape
func shaBlocks3(sa, sb, sc *shaState, pa, pb, pc *byte, n int)

//go:noescape
func shaDigest(st *shaState, out *[MACSize]byte)

//go:noescape
func shaFinish(outer, st *shaState, p *byte, n int, out *[MACSize]byte)

//go:noescape
func shaBlocks8(lanes *[wideLanes]shaLane, n int)
