#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/rng.hpp"
#include "rina/vmpi.hpp"

// What libFuzzer drives, and what the replay drives in every build. A violation aborts.

namespace sluice::fuzz {

// Both control parsers: any bytes; what is understood is written again and understood the same.
void control(std::span<const std::byte> bytes);

// A whole device (ShimHv and VmpiData) in one life: its peer has confirmed it and one flow is up;
// then the peer turns hostile.
class Device {
  public:
    explicit Device(rina::vmpi::Profile profile);
    ~Device();

    void feed(std::span<const std::byte> frame);
    // The flow that is up still carries data both ways, and nothing has grown past its limit.
    void check_undisturbed();
    // Frames that the peer did send, for mutation.
    const std::vector<std::vector<std::byte>>& samples() const noexcept;
    std::uint64_t frames() const noexcept;
    std::uint64_t parsed() const noexcept;  // control messages that followed the grammar

  private:
    struct State;
    std::unique_ptr<State> state_;
};

// Bytes as a sequence of frames for a fresh device: profile byte, then length byte and frame.
void device(std::span<const std::byte> bytes);

}  // namespace sluice::fuzz
