#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "tgen/core/checksum.hpp"
#include "tgen/core/histogram.hpp"
#include "tgen/core/wire.hpp"

namespace sluice::tgen {

// The order of numbered SDUs: what is missing, late or double. The last 64 numbers are known one
// by one. An SDU older than that is taken for one that was missing if anything that old is
// missing, for a duplicate otherwise.
class SequenceTracker {
  public:
    void on_seq(std::uint64_t seq) noexcept {
        if (seq == expected_) [[likely]] {
            ++expected_;
            window_ = window_ << 1 | 1;
            return;
        }
        out_of_order(seq);
    }

    std::uint64_t expected() const noexcept { return expected_; }
    std::uint64_t missing() const noexcept { return missing_; }
    std::uint64_t reordered() const noexcept { return reordered_; }
    std::uint64_t duplicates() const noexcept { return duplicates_; }

  private:
    void out_of_order(std::uint64_t seq) noexcept;

    std::uint64_t expected_ = 0;
    std::uint64_t window_ = 0;  // bit i: expected_ - 1 - i has arrived
    std::uint64_t missing_ = 0;
    std::uint64_t reordered_ = 0;
    std::uint64_t duplicates_ = 0;
};

// What a server knows of the data SDUs of one run. Times are TSC ticks throughout and become
// nanoseconds in report() only.
class Receiver {
  public:
    struct Settings {
        std::uint64_t nonce = 0;
        Mode mode = Mode::stamped;
        std::uint64_t tsc_hz = 1'000'000'000;  // of this end
        bool latency = false;                  // the stamps are of our clock
    };

    Receiver() noexcept = default;

    // START has arrived.
    void start(const Settings& settings, std::uint64_t tsc) noexcept;

    void on_stamped(std::uint64_t tsc, std::uint64_t seq, std::uint64_t stamp,
                    std::uint32_t size) noexcept {
        count(tsc, size);
        sequence_.on_seq(seq);
        // The TSCs of two cores may be a few ticks apart.
        if (settings_.latency) latency_.add(tsc > stamp ? tsc - stamp : 0);
    }
    // Too small for a stamp, or of plain mode; `bytes`: of all of them.
    void on_unstamped(std::uint64_t tsc, std::uint32_t sdus, std::uint64_t bytes) noexcept {
        if (sdus_ == 0) [[unlikely]] first_tsc_ = tsc;
        last_tsc_ = tsc;
        sdus_ += sdus;
        bytes_ += bytes;
        unstamped_ += sdus;
    }
    // Raw mode: once for the SDU, then on_payload for each segment of it in turn.
    void on_raw(std::uint64_t tsc, std::uint32_t size) noexcept { count(tsc, size); }
    void on_payload(std::span<const std::byte> segment) noexcept { checksum_.update(segment); }
    void on_foreign() noexcept { ++foreign_; }

    // So far; `sent` is the total that FIN names, if it has come: it shows losses at the end, and
    // those of SDUs without a number.
    Report report(std::optional<std::uint64_t> sent = std::nullopt) const noexcept;

    std::uint64_t tag() const noexcept { return tag_; }
    const Settings& settings() const noexcept { return settings_; }
    std::uint64_t sdus() const noexcept { return sdus_; }
    std::uint64_t bytes() const noexcept { return bytes_; }

  private:
    void count(std::uint64_t tsc, std::uint32_t size) noexcept {
        if (sdus_ == 0) [[unlikely]] first_tsc_ = tsc;
        last_tsc_ = tsc;
        ++sdus_;
        bytes_ += size;
    }
    std::uint64_t to_ns(std::uint64_t ticks) const noexcept;

    Settings settings_{};
    std::uint64_t tag_ = 0;
    std::uint64_t sdus_ = 0;
    std::uint64_t bytes_ = 0;
    std::uint64_t last_tsc_ = 0;
    std::uint64_t first_tsc_ = 0;
    std::uint64_t start_tsc_ = 0;
    SequenceTracker sequence_;
    std::uint64_t unstamped_ = 0;
    std::uint64_t foreign_ = 0;
    Checksum checksum_;
    Histogram latency_;
};

// Of the payload between the first and the last arrival; 0 where nothing can be said.
double goodput_bps(const Report& report) noexcept;

}  // namespace sluice::tgen
