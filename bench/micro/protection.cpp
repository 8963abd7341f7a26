// What SDU protection costs by PDU size. For AES-GCM the thing to compare with is, on the same CPU:
//
//   openssl speed -seconds 1 -bytes 1400 -evp aes-128-gcm
//
// which bench/run dif runs between times.
#include <fmt/format.h>

#include <array>
#include <cstring>
#include <string>
#include <variant>
#include <vector>

#include "micro.hpp"
#include "normal_dif/core/sdu_protection/policies.hpp"

namespace sluice::bench {

namespace {

using namespace sdup;

constexpr std::size_t kBurst = 64;
constexpr std::size_t kPdus = 1024;
constexpr std::size_t kRoom = 32;  // in front of a PDU and behind it

void protect(benchmark::State& state, const std::string& name, std::size_t bytes, bool and_open) {
    auto protection = make_protection(name, {}, rina::kDefaultFormat);
    if (!protection) return state.SkipWithError(protection.error().message.c_str());
    TrafficKey key;
    if (auto* sealer = std::get_if<AesGcmSealer>(&protection->sealer); sealer != nullptr)
        if (!sealer->install(KeyEpoch{1}, key) ||
            !std::get<AesGcmOpener>(protection->opener).install(KeyEpoch{1}, key))
            return state.SkipWithError("the key was not taken");
    std::vector<std::byte> buffer(kBurst * (bytes + 2 * kRoom));
    std::array<Frame, kBurst> frames;
    for (std::size_t i = 0; i < kBurst; ++i) {
        Frame& frame = frames[i];
        frame.data = &buffer[i * (bytes + 2 * kRoom) + kRoom];
        frame.bytes = static_cast<std::uint32_t>(bytes);
        frame.headroom = frame.tailroom = kRoom;
        rina::Pci pci;
        pci.length = frame.bytes;
        rina::write(pci, rina::kDefaultFormat, frame.data);
    }
    // To seal what was sealed takes as long: only where it begins and ends has to be restored.
    const std::array<Frame, kBurst> plain = frames;
    measure(state, kBurst, [&] {
        frames = plain;
        seal(protection->sealer, {}, frames);
        if (and_open) open(protection->opener, {}, frames);
        keep(frames);
    });
    for (const Frame& frame : frames)
        if (frame.dropped) return state.SkipWithError("a PDU was dropped");
}

void copy(benchmark::State& state) {
    std::vector<std::array<std::byte, 64>> from(kBurst), to(kBurst);
    measure(state, kPdus, [&] {
        for (std::size_t i = 0; i < kPdus; ++i) {
            std::memcpy(&to[i % kBurst], &from[i % kBurst], 64);
            asm volatile("" ::: "memory");
        }
    });
}

}  // namespace

void register_protection() {
    benchmark::RegisterBenchmark("protection/copy of 64 B", copy);
    for (const ProtectionPolicy& known : protection_policies())
        for (const std::size_t bytes : {64, 512, 1400, 9000})
            for (const bool and_open : {false, true})
                benchmark::RegisterBenchmark(
                    fmt::format("protection/{} seal{}, {} B", known.name,
                                and_open ? " and open" : "", bytes).c_str(),
                    [=, name = std::string(known.name)](benchmark::State& state) {
                        protect(state, name, bytes, and_open);
                    });
}

}  // namespace sluice::bench
