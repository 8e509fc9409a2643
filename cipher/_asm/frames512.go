package main

// Whole frames of AES-GCM: what gcm512.go's straight lines and loop512.go's loop are given, and what is put
// around them. Registers and the review of constant time are gcm512.go's.
//
// Seal takes an array of frames. Open's frames come to one routine in registers, out of an array or, a single one,
// from arguments: between two frames of OpenKey.Open stands a locked instruction, behind which all begins anew, and to
// write a GCMFrame and read it again took 10 cycles of the 260 of 1,200 bytes.

// loadFrame loads what the frame at DX says of key and text.
func loadFrame(seal bool) []string {
	o := []string{f("MOVQ %d(DX), AX", frameKey), "MOVQ (AX), AX", f("MOVQ %d(DX), DI", frameDst), f("MOVQ %d(DX), SI", frameSrc), f("MOVQ %d(DX), R11", frameN)}
	if !seal {
		o = append(o, "SUBQ $16, R11") // the tag
	}
	return o
}

// loadHead loads what the frame at DX says of nonce, header, AAD and what came before.
func loadHead() []string {
	return []string{f("VMOVQ %d(DX), X8", frameNonce), f("VPINSRQ $1, %d(DX), X8, X8", frameNonce+8), f("VMOVQ %d(DX), X14", frameHead), f("VPINSRQ $1, %d(DX), X14, X14", frameHead+8),
		f("MOVQ %d(DX), R10", frameAAD), f("MOVQ %d(DX), CX", frameAADN), f("MOVL %d(DX), R12", frameHeadN), f("MOVQ %d(DX), R9", frameState)}
}

// joinAAD puts the header in X14, of R12 bytes, and the CX bytes of AAD at R10 into Z14, reflected, and the length block
// into X22; R10 becomes -16 times the number of AAD blocks. The header has come by registers,
// since what was stored in pieces stalls the wide load that follows, and AAD is loaded
// to stand right behind it: from that much before its address, where the mask keeps
// off. A load that might touch another page goes through the stack.
func joinAAD() []string {
	return []string{"SUBQ R12, R10", "TESTQ CX, CX", "JZ noaad",
		"MOVL R10, BX", "ANDL $4095, BX", "CMPL BX, $4032", "JHI bounceaad",
		"loadaad:", "MOVQ $-1, BX", "BZHIQ CX, BX, BX", "SHLXQ R12, BX, BX", "KMOVQ BX, K2", "VMOVDQU8 (R10), K2, Z14",
		"noaad:", "VPSHUFB Z10, Z14, Z14", "ADDQ R12, CX", "LEAQ 15(CX), R10", "ANDQ $-16, R10", "NEGQ R10",
		"SHLQ $3, CX", "LEAQ (R11*8), BX", "VMOVQ BX, X22", "VPINSRQ $1, CX, X22, X22"}
}

// sealFrames is whole frames, or the last piece of one.
func sealFrames(nr int) []string {
	name := f("seal%dAVX512", bits(nr))
	o := text(f(`func %s(frames *GCMFrame, count int)
		AES-%d-GCM. Each frame's text and tag go to Dst. Head and AAD have at most 48 bytes; with more, and
		for the last piece of a long frame, st holds what came before.`, name, bits(nr)), name, 80, 16)
	o = append(o, "VBROADCASTI32X4 bswap<>(SB), Z10", "MOVQ frames+0(FP), DX", "MOVQ count+8(FP), CX",
		"frame:", "MOVQ DX, job-72(SP)", "MOVQ CX, left-80(SP)")
	o = append(o, loadFrame(true)...)
	o = append(o, loadHead()...)
	o = append(o, whole(nr, true)...)
	o = append(o, unbounce()...)
	o = append(o, "MOVQ job-72(SP), DX", f("ADDQ $%d, DX", frameSize), "MOVQ left-80(SP), CX", "DECQ CX", "JNZ frame")
	o = append(o, wipe()...)
	return cat(o, []string{"RET"}, outOfLine(nr, true))
}

// openFrames has what opens a frame, and two routines that bring frames to it: as an array, and, so that
// a single one waits for as few stores as can be, one frame's parts by its arguments. (Go code clears a GCMFrame before it
// fills it, 16 bytes at a time, and a field that lies in two of those stores keeps the
// kernel's load waiting until all that came before has retired.)
func openFrames(nr int) []string {
	one := f("openWhole%d<>", bits(nr))
	o := []string{f("// openWhole%d opens a frame, or the last piece of one. AX key, DI dst, SI text, R11 its length, X8 nonce, X14 header, its rest 0,", bits(nr)),
		"// R12 its length, R10 AAD, CX its length, R9 state. R8 is left 1 if the tag was right, else 0. It clears no register.",
		f("TEXT %s(SB), NOSPLIT, $80-0", one), "VBROADCASTI32X4 bswap<>(SB), Z10", "MOVQ R11, text-72(SP)", "MOVQ R9, state-80(SP)"}
	o = append(o, whole(nr, false)...)
	o = append(o, unbounce()...)
	o = append(o, "RET")
	o = append(o, outOfLine(nr, false)...)

	name := f("open%dAVX512", bits(nr))
	o = append(o, text(f(`func %s(frames *GCMFrame, count int)
		AES-%d-GCM. Each frame's text goes to Dst; OK is set to 1 if the tag behind it was right, else
		to 0; then the caller must clear Dst. Else as seal.`, name, bits(nr)), name, 16, 16)...)
	o = append(o, "MOVQ frames+0(FP), DX", "MOVQ count+8(FP), CX", "frame:", "MOVQ DX, job-8(SP)", "MOVQ CX, left-16(SP)")
	o = append(o, loadFrame(false)...)
	o = append(o, loadHead()...)
	o = append(o, f("CALL %s(SB)", one), "MOVQ job-8(SP), DX", f("MOVB R8, %d(DX)", frameOK), f("ADDQ $%d, DX", frameSize), "MOVQ left-16(SP), CX", "DECQ CX", "JNZ frame")
	o = append(o, wipe()...)
	o = append(o, "RET", "")

	name = f("openLone%dAVX512", bits(nr))
	o = append(o, text(f(`func %s(key *GCM, salt *[2]uint64, dst, sealed *byte, n, headLen int, aad *byte, aadLen int, ctr uint64) (ok bool)
		AES-%d-GCM: opens the n bytes of header, text and tag at sealed to dst, of any length up to maxPiece. headLen is from 1 to 16, header
		and AAD have at most 48 bytes. If not ok, the caller must clear dst.`, name, bits(nr)), name, 0, 73)...)
	o = append(o, "MOVQ salt+8(FP), BX", "VMOVQ ctr+64(FP), X8", "VPSHUFB nonceBytes<>(SB), X8, X8", "VPXOR (BX), X8, X8",
		"MOVQ sealed+24(FP), SI", "MOVQ headLen+40(FP), R12", "LEAQ masks16<>+16(SB), BX", "SUBQ R12, BX", "VMOVDQU (BX), X14", "VPAND (SI), X14, X14",
		"ADDQ R12, SI", "MOVQ n+32(FP), R11", "SUBQ R12, R11", "SUBQ $16, R11", "MOVQ key+0(FP), AX", "MOVQ (AX), AX", "MOVQ dst+16(FP), DI",
		"MOVQ aad+48(FP), R10", "MOVQ aadLen+56(FP), CX", "XORL R9, R9", f("CALL %s(SB)", one), "MOVB R8, ok+72(FP)")
	o = append(o, wipe()...)
	return append(o, "RET", "")
}

// whole is a frame whose parts are in their registers: R9 the state, or 0.
func whole(nr int, seal bool) []string {
	o := []string{"VPXORQ counter1<>(SB), X8, X19", "VMOVDQA64 X8, X16", "VSHUFI64X2 $0, Z8, Z8, Z8"} // X16: what long needs of the nonce
	o = append(o, joinAAD()...)
	o = append(o, "TESTQ R9, R9", "JNZ resume", "begin:", f("CMPQ R11, $%d", chunk), "JHI long")
	if !seal {
		o = append(o, "VPXOR X11, X11, X11", "VPXOR X12, X12, X12", "VPXOR X13, X13, X13")
	}
	o = append(o, "small:", "XORL R12, R12", "XORL R13, R13")
	o = append(o, powers()...)
	o = append(o, "TESTQ R11, R11", "JZ v0")
	o = append(o, lastVector()...)
	for n := 8; n > 0; n-- {
		o = append(o, small(nr, n, seal)...)
	}
	o = append(o, start(0)...)
	if seal {
		o = append(o, merge(smallAES(nr, 0), ends())...)
	} else {
		o = append(o, merge(smallAES(nr, 0), openEnds())...)
		for _, sum := range []string{"Z11", "Z12", "Z13"} {
			o = append(o, f("VPXORQ %s, %s, %s", openEnd[sum], sum, sum))
		}
	}
	o = append(o, "finish:")
	if seal {
		o = append(o, fold(true)...)
		o = append(o, "VPSHUFB X10, X25, X25", "VPXORQ X19, X25, X25", "VMOVDQU64 X25, (DI)(R11*1)")
	} else { // the tag, like a state, is ready before the state is
		o = append(o, "VPXORQ (SI)(R11*1), X19, X19", "VPSHUFB X10, X19, X19")
		o = append(o, foldLanes(true)...)
		o = append(o, "VPXORQ X13, X19, X19", "VPXORQ X19, X20, X15", "VPTEST X15, X15", "SETEQ R8")
	}
	return o
}

// outOfLine is what is rarely needed of a frame: the bounce buffer, what one in pieces brings along, and the loop.
func outOfLine(nr int, seal bool) []string {
	o := bounces()
	o = append(o,
		"bounceaad:", "MOVQ SI, R14", "MOVQ DI, R13", "MOVQ CX, BX", "LEAQ (R10)(R12*1), SI", "LEAQ buf-64(SP), R10", "LEAQ (R10)(R12*1), DI", "REP; MOVSB",
		"MOVQ R14, SI", "MOVQ R13, DI", "MOVQ BX, CX", "JMP loadaad",
		"resume:", f("VMOVDQU %d(R9), X15", stY), "VPXORQ Z15, Z14, Z14", f("MOVQ %d(R9), BX", stTextBits), "VMOVQ BX, X13", "VPADDQ X13, X22, X22",
		f("VPINSRQ $1, %d(R9), X22, X22", stAADBits), f("MOVL %d(R9), BX", stBlocks), "VMOVD BX, X13", "VSHUFI64X2 $0, Z13, Z13, Z13",
		"VPSHUFB Z10, Z8, Z8", "VPADDD count2345<>(SB), Z8, Z8", "VPADDD Z13, Z8, Z8", "VBROADCASTI32X4 count4<>(SB), Z9", "JMP begin")
	for n := 8; n > 0; n-- {
		o = append(o, startAt(n)...)
	}
	o = append(o, "long:", "VMOVQ X16, R8", "MOVQ R9, BX", "VPEXTRQ $1, X16, R9", "BSWAPQ R9", "TESTQ BX, BX", "JNZ later")
	o = append(o, longSetup(nr)...)
	// Of the first blocks the counter's upper bytes are 0: the base comes from the nonce as it lies in Z8.
	o = append(o, "VPXORQ (AX), X8, X15", "VAESENC 16(AX), X15, X15", "VSHUFI64X2 $0, Z15, Z15, Z29", "VMOVDQA64 Z29, Z9", "begun:")
	// AAD blocks * powers of H, or the given state * 1: the first turn reduces it.
	state := []string{f("VMOVDQU64 %d(AX)(R10*1), Z15", offH1+16), f("VMOVDQU64 %d(AX)(R10*1), Z12", offH1+16+midsFrom), "VPCLMULQDQ $0x00, Z15, Z14, Z11",
		"VPCLMULQDQ $0x11, Z15, Z14, Z13", "VPSHUFD $0x4e, Z14, Z15", "VPXORQ Z15, Z14, Z14", "VPCLMULQDQ $0x00, Z12, Z14, Z12"}
	o = append(o, loop(nr, seal, state, chunk, true)...)
	later := cat([]string{"later:", f("ADDQ %d(BX), R9", stBlocks)}, longSetup(nr), tableBase("Z29"), []string{"VMOVDQA64 Z29, Z9", "JMP begun", ""})
	if seal {
		return cat(o, bounceIn("t"), later)
	}
	// The counters of what the loop leaves over.
	o = append(o, "VPXOR X14, X14, X14", "XORL R10, R10",
		"MOVQ text-72(SP), CX", "SUBQ R11, CX", "SHRQ $4, CX", "LEAQ 1(R9)(CX*1), CX", "MOVQ state-80(SP), BX", "TESTQ BX, BX", "JZ nost", f("ADDQ %d(BX), CX", stBlocks), "nost:",
		"VMOVQ CX, X8", "MOVQ R8, CX", "BSWAPQ CX", "VPINSRQ $1, CX, X8, X8",
		"VSHUFI64X2 $0, Z8, Z8, Z8", "VPADDD count1234<>(SB), Z8, Z8", "VBROADCASTI32X4 count4<>(SB), Z9")
	o = append(o, "VBROADCASTI32X4 bswap<>(SB), Z10", "MOVL $1, R9", "JMP small")
	return append(o, later...)
}
