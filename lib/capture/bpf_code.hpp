#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace sluice::capture {

// Programs of the BSD packet filter ("The BSD Packet Filter: A New Architecture for User-level
// Packet Capture", McCanne and Jacobson, USENIX 1993) as native code.
//
// DPDK has a compiler of its own, rte_bpf, which we do not use: what 22.11 makes of such programs
// is at times not what they say. rte_bpf_convert() takes the accumulator for the index register
// in loads of 8 and 32 bits ("tcp[13] & 3 != 0"), its compiler for x86 encodes a JSET with a small
// constant wrongly, and where jumps get shorter and longer in one pass it stops with offsets that
// are not right.
struct BpfInstruction {
    std::uint16_t code = 0;
    std::uint8_t jump_true = 0;
    std::uint8_t jump_false = 0;
    std::uint32_t k = 0;
};

// How many of a packet's first bytes decide whatever the program says; nothing if that depends on
// the packet. An index of 4 * ([k] & 0xf) is at most 60.
std::optional<std::uint32_t> bpf_reach(std::span<const BpfInstruction> program);

class BpfCode {
  public:
    // As bpf_filter(3PCAP): 0, or what the program returned.
    using Function = std::uint32_t(const std::uint8_t* packet, std::uint32_t wire_length,
                                   std::uint32_t length);

    BpfCode() = default;
    // Empty where there is no code for this machine, the program is not one that libpcap would
    // make, or the system allows no new code.
    static BpfCode make(std::span<const BpfInstruction> program);
    ~BpfCode();
    BpfCode(BpfCode&& other) noexcept;
    BpfCode& operator=(BpfCode&& other) noexcept;

    explicit operator bool() const noexcept { return memory_ != nullptr; }
    Function* function() const noexcept { return reinterpret_cast<Function*>(memory_); }

  private:
    void* memory_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace sluice::capture
