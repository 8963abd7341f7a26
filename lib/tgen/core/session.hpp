#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/instant.hpp"
#include "tgen/core/pacer.hpp"
#include "tgen/core/receiver.hpp"
#include "tgen/core/size_plan.hpp"
#include "tgen/core/wire.hpp"

namespace sluice::tgen {

struct ClientSettings {
    std::uint64_t nonce = 0;  // random, one per run
    Mode mode = Mode::stamped;
    SizeRange sizes = SizeRange::constant(1500);
    Rate rate{};
    std::uint64_t burst = 0;            // tokens; 0: Pacer::default_burst
    std::uint64_t count = 0;            // these three: 0 is no limit
    Duration duration{};
    std::uint64_t bytes = 0;            // ends with the SDU that reaches it
    ClockId clock{};
    std::span<const std::byte> data{};  // raw mode: what to send, once; outlives the session
};

enum class ClientState : std::uint8_t { idle, starting, running, finishing, done, failed };
enum class ClientFailure : std::uint8_t {
    none,
    no_report,     // FIN was not answered
    flow_closed,   // before there was a report
    stopped,       // before START was sent
};
std::string_view to_string(ClientState s) noexcept;
std::string_view to_string(ClientFailure f) noexcept;

// The sending end of a run. It decides what is to be sent, its owner sends it:
//
//   switch (client.poll(now)) {
//       case start:  send encode(client.start_message()), then client.start_sent(now)
//       case data:   client.burst(now, limit) times: peek(), build, sent()
//       case fin:    send encode(client.fin_message()), then client.fin_sent(now)
//       case nothing: look again at deadline(now)
//   }
// What could not be sent (no credit, no buffer) is simply asked for again.
class ClientSession {
  public:
    enum class Want : std::uint8_t { nothing, start, data, fin };
    static constexpr Duration kFinPeriod = Duration::milliseconds(200);
    static constexpr Duration kReportTimeout = Duration::seconds(5);

    explicit ClientSession(const ClientSettings& settings) noexcept;

    void begin(Instant now) noexcept;  // idle -> starting
    // Sending ends; FIN follows.
    void stop(Instant now) noexcept;
    void flow_closed() noexcept;

    // lcore
    Want poll(Instant now) noexcept;
    // The next thing to happen without anybody's doing; never() in idle, done, failed.
    Instant deadline(Instant now) noexcept;

    Start start_message() const noexcept;
    void start_sent(Instant now) noexcept;
    Fin fin_message() const noexcept;
    void fin_sent(Instant now) noexcept;

    // How many SDUs may go now, at most `limit`: an upper bound where sizes differ, so the owner
    // stops early if more() says so.
    unsigned burst(Instant now, unsigned limit) noexcept;
    bool more() const noexcept { return state_ == ClientState::running && pacer_.ready(); }

    struct NextSdu {
        std::uint32_t size = 0;
        bool stamped = false;                  // write a StampedHeader{tag, seq, the TSC} first
        std::uint64_t seq = 0;
        std::span<const std::byte> payload{};  // raw mode: all of the SDU
    };
    NextSdu peek() const noexcept {
        NextSdu s{sizes_.peek(), false, next_seq_, {}};
        if (settings_.mode == Mode::raw) {
            s.payload = chunks_.peek(s.size);
            s.size = static_cast<std::uint32_t>(s.payload.size());
        } else {
            s.stamped = settings_.mode == Mode::stamped && s.size >= kStampedHeaderSize;
        }
        return s;
    }
    // The SDU that peek() described has gone.
    void sent(Instant now) noexcept;

    // Whether all data SDUs are of one size, and numbered or plain: then a burst can be built
    // without asking for each of them. The next one is next_seq(), and sent_run() says that
    // `count` have gone.
    bool uniform() const noexcept {
        return settings_.sizes.is_constant() &&
               (plain() || (settings_.mode == Mode::stamped &&
                            settings_.sizes.from >= kStampedHeaderSize));
    }
    bool plain() const noexcept { return settings_.mode == Mode::plain; }
    std::uint64_t next_seq() const noexcept { return next_seq_; }
    void sent_run(unsigned count, Instant now) noexcept;

    // An SDU of the server; whatever is not this run's REPORT is ignored.
    void on_sdu(std::span<const std::byte> head, std::size_t size) noexcept;

    ClientState state() const noexcept { return state_; }
    bool over() const noexcept {
        return state_ == ClientState::done || state_ == ClientState::failed;
    }
    ClientFailure failure() const noexcept { return failure_; }
    std::uint64_t tag() const noexcept { return tag_; }
    const ClientSettings& settings() const noexcept { return settings_; }
    std::uint64_t sdus_sent() const noexcept { return sdus_; }
    std::uint64_t bytes_sent() const noexcept { return bytes_; }
    Duration sending_time() const noexcept { return last_sent_ - first_sent_; }
    const std::optional<Report>& report() const noexcept { return report_; }

  private:
    bool limit_reached(Instant now) const noexcept;
    void finish(Instant now) noexcept;
    void fail_with(ClientFailure failure) noexcept;

    ClientSettings settings_;
    std::uint64_t tag_ = 0;
    ClientState state_ = ClientState::idle;
    ClientFailure failure_ = ClientFailure::none;
    Pacer pacer_;
    SizePlan sizes_;
    Chunker chunks_;
    std::uint64_t next_seq_ = 0;
    std::uint64_t sdus_ = 0;
    std::uint64_t bytes_ = 0;
    Instant running_since_{};
    Instant first_sent_{};
    Instant last_sent_{};
    Instant finishing_since_{};
    Instant next_fin_{};
    std::optional<Report> report_;
};

enum class ServerState : std::uint8_t {
    waiting,   // for START
    running,
    finished,  // FIN has come; data that come late still count
    refused,   // START of another version
};
std::string_view to_string(ServerState s) noexcept;

// The receiving end of a flow: one run after the other, as the client sends START.
class ServerSession {
  public:
    explicit ServerSession(const ClockId& clock) noexcept : clock_(clock) {}

    enum class Verdict : std::uint8_t {
        done,     // nothing more to do with it
        payload,  // raw data: call on_payload with each segment
    };
    // lcore. `head`: the first bytes of the SDU, at least min(size, kHeadSize).
    Verdict on_sdu(std::uint64_t tsc, std::span<const std::byte> head,
                   std::uint32_t size) noexcept {
        if (stamped_ && size >= kStampedHeaderSize) [[likely]] {
            const StampedHeader h = read_stamped(head.data());
            if (h.tag == receiver_.tag()) [[likely]] {
                receiver_.on_stamped(tsc, h.seq, h.stamp, size);
                return Verdict::done;
            }
        }
        return on_other(tsc, head, size);
    }
    // SDUs of this length need not be looked at, only counted; ~0: there are none such.
    std::uint32_t plain_size() const noexcept { return plain_size_; }
    void on_plain(std::uint64_t tsc, std::uint32_t sdus) noexcept {
        receiver_.on_unstamped(tsc, sdus, std::uint64_t{sdus} * plain_size_);
    }
    void on_payload(std::span<const std::byte> segment) noexcept {
        receiver_.on_payload(segment);
    }

    // A FIN waits for its answer: send encode(report()), then report_sent().
    bool report_due() const noexcept { return report_due_; }
    void report_sent() noexcept { report_due_ = false; }
    // At any time: how far the run is.
    Report report() const noexcept;

    ServerState state() const noexcept { return state_; }
    // What the client announced; its version if it was refused for that.
    const std::optional<Start>& start() const noexcept { return start_; }
    const std::optional<Fin>& fin() const noexcept { return fin_; }
    const Receiver& receiver() const noexcept { return receiver_; }
    bool latency_known() const noexcept { return receiver_.settings().latency; }

  private:
    Verdict on_other(std::uint64_t tsc, std::span<const std::byte> head,
                     std::uint32_t size) noexcept;
    bool on_control(std::uint64_t tsc, std::span<const std::byte> head,
                    std::uint32_t size) noexcept;
    void on_start(const Start& start, std::uint64_t tsc) noexcept;

    ClockId clock_;
    ServerState state_ = ServerState::waiting;
    bool stamped_ = false;  // a run in stamped or plain mode is known
    std::uint32_t plain_size_ = ~0u;
    bool report_due_ = false;
    std::optional<Start> start_;
    std::optional<Fin> fin_;
    Receiver receiver_;
};

}  // namespace sluice::tgen
