package main

// Runs of frames that run512.go's kernels do not take, of other lengths or mixed ones: what
// the kernels of short512.go and gcm512.go read of each frame is put together here, on the
// stack, in stores that their loads can take the bytes from, and then they are called. In Go that
// takes 30 cycles a frame and more.
//
// Registers: R14 run, DX frame, DI its job, R8 its counter, CX frames left, R9 HeadLen, BX SI
// scratch; X1 counter, X2 header, X3 nonce, X4 AAD, X5 and X6 (Seal) shuffle and fixed bytes or
// (Open) mask of a header, X7 salt, X8 the nonce's shuffle.
//
// Constant time: no instruction or address depends on anything but the number of frames.

const (
	jobsAt   = 32 // behind the arguments of what is called
	jobsMost = 8
)

func jobsFile() []string {
	var down []byte
	for j := range 16 {
		down = append(down, byte(-j))
	}
	o := append([]string{"#include \"funcdata.h\"", ""}, cat(bytesData("nonceBytes", nonceBytes(16)), bytesData("downFrom0", down), masks16())...)
	for _, nr := range []int{10, 14} {
		o = append(o, jobs(nr, true)...)
		o = append(o, jobs(nr, false)...)
	}
	return o
}

func jobs(nr int, seal bool) []string {
	dir := map[bool]string{true: "seal", false: "open"}[seal]
	name := f("%sJobs%dAVX512", dir, bits(nr))
	args, result := 24, ""
	if !seal {
		args, result = 25, " (ok bool)"
	}
	o := text(f(`func %s(r *GCMRun, frames *RunFrame, count int)%s
		%s of count > 0 frames, by the kernel for short frames if r.vectors is not 0. As of runs of AES-%d-GCM.`,
		name, result, map[bool]string{true: "Seal", false: "Open"}[seal], bits(nr)), name, jobsAt+frameSize*jobsMost, args)
	o[len(o)-1] = f("TEXT ·%s(SB), 0, $%d-%d", name, jobsAt+frameSize*jobsMost, args)
	o = append(o, "NO_LOCAL_POINTERS", "MOVQ r+0(FP), R14", "MOVQ frames+8(FP), DX", "MOVQ count+16(FP), CX", f("LEAQ jobs-%d(SP), DI", frameSize*jobsMost), f("LEAQ %d(R14), R8", runCtr), f("MOVQ %d(R14), R9", runHeadLen),
		f("VMOVQ %d(R14), X7", runSalt), f("VPINSRQ $1, %d(R14), X7, X7", runSalt+8), "VMOVDQU nonceBytes<>(SB), X8")
	if seal {
		o = append(o, "LEAQ -1(R9), BX", "VPBROADCASTB BX, X5", "VPADDB downFrom0<>(SB), X5, X5", f("VMOVQ %d(R14), X6", runHead), f("VPINSRQ $1, %d(R14), X6, X6", runHead+8))
	} else {
		o = append(o, "LEAQ masks16<>+16(SB), BX", "SUBQ R9, BX", "VMOVDQU (BX), X5")
	}
	o = append(o, "job:", "VMOVQ (R8), X1", "VPSHUFB X8, X1, X3", "VPXOR X7, X3, X3", f("VMOVDQU X3, %d(DI)", frameNonce),
		f("MOVQ R14, %d(DI)", frameKey), f("MOVQ %d(DX), BX", rfDst), f("ADDQ %d(DX), BX", rfDstN), f("MOVQ %d(DX), SI", rfSrc), f("MOVQ %d(DX), R10", rfN))
	if seal {
		o = append(o, "VPSHUFB X5, X1, X2", "VPOR X6, X2, X2", "VMOVDQU X2, (BX)", "ADDQ R9, BX", "LEAQ 16(BX)(R10*1), R11", f("SUBQ %d(DX), R11", rfDst), f("MOVQ R11, %d(DX)", rfDstN))
	} else {
		o = append(o, "VPAND (SI), X5, X2", "ADDQ R9, SI", "SUBQ R9, R10")
	}
	o = append(o, f("VMOVDQU X2, %d(DI)", frameHead), f("MOVQ BX, %d(DI)", frameDst), f("MOVQ SI, %d(DI)", frameSrc), f("MOVQ R10, %d(DI)", frameN),
		f("VMOVDQU %d(DX), X4", rfAAD), f("VMOVDQU X4, %d(DI)", frameAAD), f("MOVQ R9, %d(DI)", frameHeadN), f("MOVQ $0, %d(DI)", frameState),
		f("ADDQ $%d, DX", rfSize), f("ADDQ $%d, DI", frameSize), "ADDQ $8, R8", "DECQ CX", "JNZ job",
		f("LEAQ jobs-%d(SP), DI", frameSize*jobsMost), "MOVQ DI, 0(SP)", "MOVQ count+16(FP), CX", "MOVQ CX, 8(SP)",
		f("MOVQ %d(R14), CX", runVectors), "TESTQ CX, CX", "JEQ any", "MOVQ CX, 16(SP)", f("CALL ·%sShort%dAVX512(SB)", dir, bits(nr)), "JMP called",
		"any:", f("CALL ·%s%dAVX512(SB)", dir, bits(nr)), "called:")
	if !seal {
		o = append(o, "MOVQ count+16(FP), CX", f("LEAQ jobs-%d(SP), DI", frameSize*jobsMost), "MOVL $1, AX", "verdict:", f("ANDB %d(DI), AX", frameOK), f("ADDQ $%d, DI", frameSize), "DECQ CX", "JNZ verdict", "MOVB AX, ok+24(FP)")
	}
	// The nonces are not secret, nor is anything else that was put on the stack.
	return append(o, "RET", "")
}
