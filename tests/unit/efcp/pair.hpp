#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <set>
#include <string>
#include <vector>

#include "base/rng.hpp"
#include "link_model/link_model.hpp"
#include "normal_dif/core/efcp/connection.hpp"

// Two connections over a link in each direction, under a virtual clock. Everything that goes over
// the link goes as bytes. Tokens are followed: one that comes out twice, or never, is a fault.
namespace sluice::efcp::test {

inline constexpr rina::Address kAddress[2] = {rina::Address{11}, rina::Address{22}};
inline constexpr rina::CepId kCep[2] = {rina::CepId{5}, rina::CepId{6}};

inline ConnectionIds ids_of(int end) {
    return {kAddress[end], kAddress[1 - end], kCep[end], kCep[1 - end], rina::QosId{0}};
}

struct PairConfig {
    EfcpPolicies policies;
    rina::PciFormat format = rina::kDefaultFormat;
    link_model::Config link;
    std::uint64_t seed = 1;
    std::uint32_t sdu_bytes_max = 200;
    // The user reads an SDU so long after it was delivered.
    Duration read_after{};
    // Arrivals within this time make one burst.
    Duration gather{};
};

class Pair {
  public:
    struct End {
        std::unique_ptr<Connection> connection;
        std::vector<std::vector<std::byte>> to_send;  // content of each SDU, by its number
        std::size_t submitted = 0;
        std::vector<std::vector<std::byte>> got;
        std::vector<std::uint64_t> got_sequences;
        std::set<std::uintptr_t> tx_inside, rx_inside;  // tokens
        std::map<std::uintptr_t, std::size_t> sdu_of;   // of tx tokens
        std::map<std::uintptr_t, std::vector<std::byte>> frame_of;
        std::map<DropReason, std::uint32_t> drops;
        std::uint8_t events = 0;
        std::uint64_t controls = 0;
        Instant wake_at = Instant::never();
    };

    explicit Pair(const PairConfig& config);

    // `count` SDUs of random content from this end.
    void offer(int end, std::size_t count);
    // Until nothing more happens, or until then.
    void run(Instant until);
    // Everything offered was got, or both ends failed, or the time is over.
    bool run_until_delivered(Instant until);
    void heal() { link_[0].set_config({}), link_[1].set_config({}); }
    void set_link(const link_model::Config& config) {
        link_[0].set_config(config);
        link_[1].set_config(config);
    }
    void close(int end, Duration linger);
    // Ends both and sees that no token is left.
    void finish();

    // Decides of each frame whether it is lost, if set: (from, PCI, time).
    std::function<bool(int, const rina::Pci&, Instant)> lose;
    // Told of each frame that is sent.
    std::function<void(int, const rina::Pci&, Instant)> on_frame;

    End& end(int i) { return ends_[i]; }
    Connection& connection(int i) { return *ends_[i].connection; }
    Instant now() const { return now_; }
    const std::vector<std::string>& faults() const { return faults_; }
    std::uint64_t digest() const { return digest_; }
    std::uint64_t events_handled() const { return handled_; }

  private:
    struct Event {
        Instant at{};
        std::uint64_t order = 0;
        int to = 0;  // arrives there; -1 - end: that end's user reads one SDU
        std::vector<std::byte> frame;
        bool operator<(const Event& o) const {
            return at != o.at ? at > o.at : order > o.order;
        }
    };

    void submit(int i);
    void take(int i, Outbox& out);
    void transmit(int from, std::vector<std::byte> frame, const rina::Pci& pci);
    void settle(int i);
    void arrive(int to, std::vector<std::vector<std::byte>>& frames);
    void fault(std::string what) { faults_.push_back(std::move(what)); }
    bool all_delivered() const;

    PairConfig config_;
    Rng rng_;
    link_model::LinkModel link_[2];
    End ends_[2];
    std::priority_queue<Event> queue_;
    Outbox out_;
    Instant now_ = Instant{1'000'000'000};
    std::uint64_t order_ = 0;
    std::uintptr_t next_token_ = 1;
    std::uint64_t digest_ = 0;
    std::uint64_t handled_ = 0;
    std::vector<std::string> faults_;
};

}  // namespace sluice::efcp::test
