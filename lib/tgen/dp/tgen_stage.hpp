#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "dataplane/flow_gate.hpp"
#include "dataplane/kind.hpp"
#include "dataplane/punt.hpp"
#include "dataplane/stage.hpp"
#include "tgen/core/session.hpp"
#include "tgen/dp/seq_cell.hpp"

namespace sluice::tgen {

// How far a run is, for whoever asks on the control thread.
struct Progress {
    std::uint64_t sdus = 0;  // sent by a client, received by a server
    std::uint64_t bytes = 0;
    Report report{};         // a server's own, or the one a client was given
    ClientState client_state = ClientState::idle;
    ClientFailure failure = ClientFailure::none;
    ServerState server_state = ServerState::waiting;
    bool have_report = false;
    bool raw = false;
    std::uint64_t elapsed_ns = 0;
};

// One end of a flow that tgen uses. Made by the control thread, then the stage's from attach to
// the detached punt; `progress` may be read at any time.
struct TgenFlow {
    TgenFlow() = default;

    std::uint32_t slot = 0;
    unsigned outlet = 0;
    std::uint32_t channel = 0;
    std::uint32_t max_sdu = 0;
    dp::FlowGate* gate = nullptr;
    std::optional<ClientSession> client;  // one of the two
    std::optional<ServerSession> server;
    SeqCell<Progress> progress;

    // Server: SDUs that wait because the application does not read; room for the whole window.
    std::vector<rte_mbuf*> held;
    bool reading = true;
    bool wants_file = false;         // a raw stream is to be written to a file
    std::span<std::byte> file{};     // mapped by the control thread
    std::uint64_t file_used = 0;

    // lcore
    std::uint64_t submitted = 0;  // credit units
    std::uint64_t consumed = 0;
    bool usable = false;          // the flow is allocated
    bool told_over = false;
    Instant next_progress{};
};

enum class TgenMail : std::uint32_t {
    attach = 1,  // pointer: the flow
    usable,      // pointer: the flow; the client begins
    stop,        // pointer: the flow; the client says FIN
    closed,      // pointer: the flow; the peer has gone
    detach,      // pointer: the flow; answered by kPuntTgenDetached
    reading,     // pointer: the flow; arg 0: stop reading, 1: read
    file,        // pointer: the flow; words: address and length of the mapped file (0: none)
};

// Punt; words[0] is the flow's address.
inline constexpr std::uint32_t kPuntTgenOver = 0x100;      // the client is done or has failed
inline constexpr std::uint32_t kPuntTgenRunStart = 0x101;  // words[1]: bytes announced, raw mode
inline constexpr std::uint32_t kPuntTgenRunEnd = 0x102;    // the server has answered FIN
inline constexpr std::uint32_t kPuntTgenDetached = 0x103;

// The built-in traffic application on its lcore: source of SDUs (outlet n: the n-th device,
// PduMeta::port_id the channel) and their receiver (inlet 0, PduMeta::port_id the flow's slot).
class TgenStage : public dp::Stage {
  public:
    struct Options {
        rte_mempool* pool = nullptr;  // of its own: what an SDU carries beyond its header is what
                                      // the pool was filled with, never another guest's data
        dp::Punt* punt = nullptr;
        unsigned outlets = 1;
        std::uint32_t slots = 256;
    };
    explicit TgenStage(const Options& options);

    static dp::KindInfo kind(unsigned outlets);
    enum Count : unsigned { kSentBytes, kReceivedBytes, kStarved };

    dp::Busy poll(dp::LoopCtx& ctx) noexcept override;
    void process(dp::LoopCtx& ctx, dp::Burst& burst) noexcept override;
    void on_mail(dp::LoopCtx& ctx, const dp::Mail& mail) noexcept override;
    void on_stop(dp::LoopCtx& ctx) noexcept override;
    dp::Wait wait_arm(dp::LoopCtx& ctx, int epoll_fd) noexcept override;

  private:
    bool run(dp::LoopCtx& ctx, TgenFlow& flow) noexcept;
    bool send_data(dp::LoopCtx& ctx, TgenFlow& flow) noexcept;
    unsigned send_uniform(dp::LoopCtx& ctx, TgenFlow& flow, unsigned most) noexcept;
    unsigned send_mixed(dp::LoopCtx& ctx, TgenFlow& flow, unsigned most) noexcept;
    bool send_message(dp::LoopCtx& ctx, TgenFlow& flow, std::span<const std::byte> bytes) noexcept;
    rte_mbuf* build(const ClientSession::NextSdu& sdu, std::uint64_t tag,
                    std::uint32_t before) noexcept;
    std::uint32_t headers_before(const dp::FlowGate& gate, std::uint32_t size) const noexcept;
    bool afford(dp::LoopCtx& ctx, TgenFlow& flow, std::uint32_t size) noexcept;
    void receive(dp::LoopCtx& ctx, TgenFlow& flow, rte_mbuf** packets, unsigned count) noexcept;
    void consume(dp::LoopCtx& ctx, TgenFlow& flow, rte_mbuf** packets, unsigned count) noexcept;
    void take(TgenFlow& flow, std::uint64_t tsc, rte_mbuf* m) noexcept;
    void payload(TgenFlow& flow, const rte_mbuf* m) noexcept;
    void release_held(dp::LoopCtx& ctx, TgenFlow& flow) noexcept;
    void report_progress(dp::LoopCtx& ctx, TgenFlow& flow) noexcept;
    void punt(dp::LoopCtx& ctx, std::uint32_t type, TgenFlow& flow, std::uint64_t word) noexcept;

    const Options options_;
    const std::uint32_t room_;  // data bytes in one mbuf
    std::vector<TgenFlow*> slots_;
    std::vector<TgenFlow*> active_;
    std::size_t first_ = 0;
    bool starved_ = false;  // somebody waits for credit or buffers that nobody wakes us for
};

}  // namespace sluice::tgen
