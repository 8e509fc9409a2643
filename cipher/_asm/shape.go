package main

// What package cipher must know of a batch before it seals or opens it (ShapeOf). The Go compiler
// keeps half of the ten values that this takes on the stack. No vectors: whoever fills a frame has
// just stored its fields one by one, and a load of several would wait until those stores are in the cache.
//
// Registers: R13 frame, CX frames left, R9 extra bytes, R8 first room's begin and 1, R10 all rooms' length
// less 1, DX end of the room before; R11 least, R12 most, R15 most AAD, AX the Errs' types ORed;
// BX bytes of Src, SI DI R14 scratch.
//
// Nothing here is secret: addresses and lengths. So it ends at the first frame that is not apart.

const (
	rfDstCap = 16
	rfErr    = 72
)

func shapeFile() []string {
	o := text(`func shape(frames *RunFrame, count, extra int) (least, most, aad int, apart, errs bool)
		shapeOf for count > 0 frames.`, "shape", 0, 50)
	o = append(o, "MOVQ frames+0(FP), R13", "MOVQ count+8(FP), CX", "MOVQ extra+16(FP), R9", f("MOVQ %d(R13), R11", rfN), "XORL R12, R12", "XORL R15, R15")
	o = append(o, shapeRooms()...)
	o = append(o, "frame:")
	o = append(o, shapeFrame()...)
	o = append(o, "CMPQ BX, R11", "CMOVQLT BX, R11", "CMPQ BX, R12", "CMOVQGT BX, R12", "CMPQ DI, R15", "CMOVQGT DI, R15",
		f("ADDQ $%d, R13", rfSize), "DECQ CX", "JNZ frame",
		"MOVQ R11, least+24(FP)", "MOVQ R12, most+32(FP)", "MOVQ R15, aad+40(FP)", "ADDQ R9, R11", "SETPL apart+48(FP)", "TESTQ AX, AX", "SETNE errs+49(FP)", "RET",
		"no:", "XORL AX, AX", "MOVQ AX, least+24(FP)", "MOVQ AX, most+32(FP)", "MOVQ AX, aad+40(FP)", "MOVB AX, apart+48(FP)", "MOVB AX, errs+49(FP)", "RET", "")
	return o
}

// shapeRooms finds where all rooms begin and end.
func shapeRooms() []string {
	return []string{f("MOVQ %d(R13), R8", rfDst), f("ADDQ %d(R13), R8", rfDstN),
		f("IMUL3Q $%d, CX, SI", rfSize), "ADDQ R13, SI", f("MOVQ %d(SI), R10", rfDst-rfSize), f("ADDQ %d(SI), R10", rfDstN-rfSize), f("ADDQ %d(SI), R10", rfN-rfSize),
		"ADDQ R9, R10", "SUBQ R8, R10", "INCQ R8", "DECQ R10", "XORL DX, DX", "XORL AX, AX"}
}

// shapeFrame goes to no if the frame is not apart. It leaves len(Src) in BX and len(AAD) in DI.
func shapeFrame() []string {
	// n bytes that begin at a frame's field meet the rooms.
	meets := func(at int, n, scratch string) []string {
		return []string{f("MOVQ %d(R13), SI", at), f("ADDQ %s, SI", n), "SUBQ R8, SI", f("LEAQ (%s)(R10*1), %s", n, scratch), f("CMPQ SI, %s", scratch), "JCS no"}
	}
	o := []string{f("MOVQ %d(R13), BX", rfN), f("MOVQ %d(R13), DI", rfDstN), f("MOVQ %d(R13), SI", rfDst), "ADDQ DI, SI", "CMPQ SI, DX", "JCS no",
		"LEAQ (BX)(R9*1), R14", "LEAQ (SI)(R14*1), DX", "ADDQ DI, R14", f("CMPQ %d(R13), R14", rfDstCap), "JLT no"}
	o = append(o, meets(rfSrc, "BX", "DI")...)
	o = append(o, f("MOVQ %d(R13), DI", rfAADN))
	o = append(o, meets(rfAAD, "DI", "R14")...)
	return append(o, f("ORQ %d(R13), AX", rfErr))
}
