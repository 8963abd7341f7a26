// Why reliable flows between rlite nodes stop under loss, and that ours do not. A model of two
// rules of rlite (kernel/normal.c there): its receiver accounts SDUs that were released by the
// filling of a gap to the PDU that filled it, so that the left window edge it tells stays behind;
// its sender is blocked while next sequence number - left window edge > congestion window, which
// losses bring down to 4. When all is acknowledged and the edge is behind by more, nothing moves
// again. Both as sender and as receiver the model meets our connections in rlite's dialect: SDUs
// that arrive in 10 s of virtual time over a link of 1 Gb/s and 1 ms that loses 5 % in each
// direction. Prints one line of JSON.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.hpp"
#include "link_model/link_model.hpp"
#include "normal_dif/core/efcp/connection.hpp"
#include "normal_dif/core/efcp/control_pdu.hpp"

namespace {

using namespace sluice;
using namespace sluice::efcp;

constexpr rina::PciFormat kFormat = rina::kDefaultFormat;
constexpr std::uint32_t kSduBytes = 1000;
constexpr std::uint64_t kCredit = 512;
constexpr Duration kATimer = Duration::milliseconds(20);

struct Frame {
    rina::Pci pci;
    rina::ControlPdu fields;
};

// One end of the flow, which sends or receives.
class End {
  public:
    virtual ~End() = default;
    virtual void on_frame(Instant now, const Frame& frame) = 0;
    virtual void on_turn(Instant now) = 0;  // at each event: timers, more to send
    virtual Instant deadline() const = 0;
    virtual std::uint64_t delivered() const { return 0; }

    std::vector<Frame> sent;
};

rina::Pci header_of(int end) {
    rina::Pci pci;
    pci.source = rina::Address{static_cast<std::uint64_t>(end + 1)};
    pci.destination = rina::Address{static_cast<std::uint64_t>(2 - end)};
    pci.source_cep = rina::CepId{static_cast<std::uint32_t>(end + 1)};
    pci.destination_cep = rina::CepId{static_cast<std::uint32_t>(2 - end)};
    return pci;
}

class OurEnd : public End {
  public:
    OurEnd(int end, bool is_sender)
        : is_sender_(is_sender),
          connection_(std::make_unique<Connection>(ids_of(end), EfcpPolicies::rlite_reliable(),
                                                   kFormat)) {}

    void on_frame(Instant now, const Frame& frame) override {
        std::array<std::byte, control_bytes_max(kFormat)> bytes;
        RxItem item;
        item.pci = frame.pci;
        if (rina::is_control(frame.pci.type)) {
            rina::write(frame.pci, kFormat, bytes.data());
            rina::write_control(frame.fields, kFormat, bytes.data());
            item.bytes = std::span(bytes).first(frame.pci.length);
        }
        connection_->on_burst(now, {&item, 1}, out_);
        flush(now);
    }
    void on_turn(Instant now) override {
        const TxItem item{static_cast<PduToken>(1), kSduBytes};
        while (is_sender_ && connection_->submit(now, {&item, 1}, out_) == 1) flush(now);
        flush(now);
        while (connection_->next_deadline() <= now) {
            connection_->on_timeout(now, out_);
            flush(now);
        }
    }
    Instant deadline() const override { return connection_->next_deadline(); }
    std::uint64_t delivered() const override { return delivered_; }

  private:
    static ConnectionIds ids_of(int end) {
        const rina::Pci pci = header_of(end);
        return {pci.source, pci.destination, pci.source_cep, pci.destination_cep, pci.qos};
    }
    void flush(Instant now) {
        for (const SendItem& item : out_.send) sent.push_back({item.pci, {}});
        for (const ControlItem& item : out_.control) sent.push_back({item.pci, item.fields});
        const std::size_t count = out_.deliver.size();
        delivered_ += count;
        out_.clear();
        if (count != 0) connection_->consumed(now, static_cast<std::uint32_t>(count), out_);
        if (!out_.empty()) flush(now);
    }

    bool is_sender_;
    std::unique_ptr<Connection> connection_;
    Outbox out_;
    std::uint64_t delivered_ = 0;
};

class RliteSender : public End {
  public:
    void on_frame(Instant now, const Frame& frame) override {
        const rina::ControlPdu& fields = frame.fields;
        if (fields.new_rwe >= rwe_) {
            rwe_ = fields.new_rwe;
            lwe_ = fields.new_lwe;
        }
        for (auto it = unacked_.begin(); it != unacked_.end() && it->first < fields.ack;) {
            if (!it->second.is_repeated) measure(now - it->second.sent);
            it = unacked_.erase(it);
        }
        window_ = std::min<std::uint64_t>(has_repeated_ ? window_ + 1 : window_ * 2, 65536);
    }
    void on_turn(Instant now) override {
        bool repeated = false;
        for (auto& [seq, pdu] : unacked_) {
            if (now < pdu.due) continue;
            repeated = pdu.is_repeated = true;
            pdu.due = now + timeout();
            send(seq);
        }
        if (repeated) {
            has_repeated_ = true;
            window_ = std::max<std::uint64_t>(window_ / 2, 4);
        }
        while (next_ <= rwe_ && next_ <= lwe_ + window_) {
            unacked_[next_] = {now, now + timeout(), false};
            send(next_++);
        }
    }
    Instant deadline() const override {
        Instant at = Instant::never();
        for (const auto& [seq, pdu] : unacked_) at = earlier(at, pdu.due);
        return at;
    }

  private:
    struct Unacked {
        Instant sent, due;
        bool is_repeated = false;
    };
    Duration timeout() const { return std::max(rtt_ + deviation_ * 2, kATimer * 2); }
    void measure(Duration sample) {
        const Duration apart{std::max(sample.ns - rtt_.ns, rtt_.ns - sample.ns)};
        rtt_ = (rtt_ * 112 + sample * 16) / 128;
        deviation_ = (deviation_ * 3 + apart) / 4;
    }
    void send(std::uint64_t seq) {
        rina::Pci pci = header_of(0);
        pci.sequence = seq;
        pci.length = kSduBytes + static_cast<std::uint32_t>(kFormat.bytes());
        if (seq == 0) pci.flags = rina::pci_flag::kDrf;
        sent.push_back({pci, {}});
    }

    std::uint64_t next_ = 0, lwe_ = 0, rwe_ = kCredit, window_ = 4;
    bool has_repeated_ = false;
    Duration rtt_ = Duration::seconds(1), deviation_{};
    std::map<std::uint64_t, Unacked> unacked_;
};

class RliteReceiver : public End {
  public:
    void on_frame(Instant now, const Frame& frame) override {
        const std::uint64_t seq = frame.pci.sequence;
        if (is_run_expected_ || (frame.pci.flags & rina::pci_flag::kDrf) != 0) {
            is_run_expected_ = false;
            next_ = seq;
        }
        if (seq < next_) {
            acknowledge();
            return;
        }
        if (seq > next_) {
            if (held_.size() < kRliteReorderMax) held_.insert(seq);
            return;
        }
        ++next_;
        ++delivered_;
        for (auto it = held_.begin(); it != held_.end() && *it == next_; it = held_.erase(it)) {
            ++next_;
            ++delivered_;
        }
        lwe_ = seq + 1;  // whatever it released
        if (lwe_ >= told_ + kCredit / 2 || next_ >= acked_ + kCredit / 2)
            acknowledge();
        else if (due_.is_never())
            due_ = now + kATimer;
    }
    void on_turn(Instant now) override {
        if (now >= due_) acknowledge();
    }
    Instant deadline() const override { return due_; }
    std::uint64_t delivered() const override { return delivered_; }

  private:
    void acknowledge() {
        due_ = Instant::never();
        Frame frame{header_of(1), {}};
        frame.pci.type = static_cast<std::uint8_t>(rina::PduType::ack_flow_control);
        frame.pci.sequence = control_next_++;
        frame.pci.length = static_cast<std::uint32_t>(kFormat.control_bytes());
        frame.fields = {0, next_, lwe_ + kCredit, lwe_, 0, 0};
        told_ = lwe_;
        acked_ = next_;
        sent.push_back(frame);
    }

    bool is_run_expected_ = true;
    std::uint64_t next_ = 0, lwe_ = 0, told_ = 0, acked_ = 0, control_next_ = 0;
    std::uint64_t delivered_ = 0;
    std::set<std::uint64_t> held_;
    Instant due_ = Instant::never();
};

struct Outcome {
    std::uint64_t sdus = 0;
    double moving_s = 0;  // until the last that arrived
};

Outcome run(std::unique_ptr<End> sender, std::unique_ptr<End> receiver, std::uint64_t seed) {
    const std::array<std::unique_ptr<End>, 2> ends = {std::move(sender), std::move(receiver)};
    link_model::Config config;
    config.loss = link_model::Loss::uniform(0.05);
    config.rate = link_model::Rate::limited(1'000'000'000, 10'000'000);
    config.delay = link_model::Delay::fixed(Duration::milliseconds(1));
    link_model::LinkModel links[2] = {link_model::LinkModel(config), link_model::LinkModel(config)};
    Rng rng(seed);
    std::multimap<Instant, std::pair<int, Frame>> under_way;
    const Instant start{1'000'000'000};
    Instant moved = start;
    for (Instant now = start; now < start + Duration::seconds(10);) {
        for (int i = 0; i < 2; ++i) {
            ends[i]->on_turn(now);
            for (const Frame& frame : ends[i]->sent) {
                const auto verdict = links[i].apply(now, rng, frame.pci.length);
                if (verdict.fate == link_model::Fate::pass)
                    under_way.emplace(verdict.at[0], std::pair{1 - i, frame});
            }
            ends[i]->sent.clear();
        }
        Instant next = earlier(ends[0]->deadline(), ends[1]->deadline());
        if (!under_way.empty()) next = earlier(next, under_way.begin()->first);
        if (next.is_never()) break;
        now = std::max(now, next);
        while (!under_way.empty() && under_way.begin()->first <= now) {
            const auto [to, frame] = under_way.begin()->second;
            under_way.erase(under_way.begin());
            const std::uint64_t before = ends[1]->delivered();
            ends[to]->on_frame(now, frame);
            if (ends[1]->delivered() != before) moved = now;
        }
    }
    return {ends[1]->delivered(), (moved - start).to_seconds()};
}

std::unique_ptr<End> make(bool is_ours, bool is_sender) {
    if (is_ours) return std::make_unique<OurEnd>(is_sender ? 0 : 1, is_sender);
    if (is_sender) return std::make_unique<RliteSender>();
    return std::make_unique<RliteReceiver>();
}

}  // namespace

int main() {
    std::string rows;
    for (const bool ours_sends : {false, true})
        for (const bool ours_receives : {false, true})
            for (std::uint64_t seed = 1; seed <= 15; ++seed) {
                const Outcome o = run(make(ours_sends, true), make(ours_receives, false), seed);
                rows += fmt::format(
                    "{}{{\"sender\": \"{}\", \"receiver\": \"{}\", \"seed\": {}, \"sdus\": {}, "
                    "\"moving_s\": {:.3f}}}",
                    rows.empty() ? "" : ", ", ours_sends ? "sluice" : "rlite's rules",
                    ours_receives ? "sluice" : "rlite's rules", seed, o.sdus, o.moving_s);
            }
    fmt::print("{{\"stall\": [{}]}}\n", rows);
    return 0;
}
