#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "base/check.hpp"
#include "dif_targets.hpp"
#include "normal_dif/core/efcp/connection.hpp"
#include "normal_dif/core/efcp/control_pdu.hpp"
#include "script.hpp"

namespace sluice::fuzz {

namespace {

using namespace sluice::efcp;
using rina::PciFormat;

using Bytes = std::vector<std::byte>;

constexpr rina::Address kAddress[2] = {rina::Address{11}, rina::Address{22}};
constexpr rina::CepId kCep[2] = {rina::CepId{5}, rina::CepId{6}};
constexpr std::uint32_t kCredit = 6;

ConnectionIds ids_of(int end) {
    return {kAddress[end], kAddress[1 - end], kCep[end], kCep[1 - end], rina::QosId{0}};
}

EfcpPolicies policies_of(std::uint8_t how) {
    switch (how % 8) {
        case 0: return EfcpPolicies::best_effort();
        case 1: return EfcpPolicies::rlite_reliable();
        case 2: return EfcpPolicies::rlite_flow_control(kCredit);
        case 3: return EfcpPolicies::sluice_reliable(kCredit);
        case 4: {  // retransmission without a window
            EfcpPolicies p = EfcpPolicies::sluice_reliable(kCredit);
            p.window.reset();
            p.congestion = Congestion::aimd;
            p.in_order = false;
            p.max_sdu_gap = -1;
            return p;
        }
        case 5: {  // a rate and a gap that the user can bear
            EfcpPolicies p = EfcpPolicies::rlite_flow_control(kCredit);
            p.dialect = Dialect::sluice;
            p.rate = RatePolicy{4, Duration::milliseconds(20)};
            p.max_sdu_gap = 2;
            return p;
        }
        case 6: {
            EfcpPolicies p = EfcpPolicies::rlite_reliable();
            p.window->initial_credit = kCredit;
            p.window->closed_queue_max = 4;
            p.a_timer = {};
            return p;
        }
        default: {
            EfcpPolicies p;
            p.in_order = true;
            p.a_timer = Duration::milliseconds(5);
            return p;
        }
    }
}

class Pair {
  public:
    Pair(std::uint8_t how, std::uint8_t more);
    void step(Script& script);
    void end();
    bool is_fruitful() const { return ends_[0].got + ends_[1].got != 0; }

  private:
    struct End {
        std::unique_ptr<Connection> connection;
        std::set<PduToken> inside;          // that it holds, of both directions
        std::map<PduToken, std::uint32_t> sdu_of;
        std::map<PduToken, Bytes> frame_of;  // received
        std::uint32_t submitted = 0;
        std::uint32_t got = 0;
        std::uint32_t next = 0;  // the least number that may come in order
        std::uint32_t unread = 0;
        std::set<std::uint32_t> numbers;  // that came
    };
    struct Frame {
        Instant sent{};
        Bytes bytes;
    };

    const EfcpPolicies& policies() const { return ends_[0].connection->policies(); }
    // Between honest ends no PDU comes after its life has ended.
    bool is_alive(const Frame& frame) const {
        return is_forged_ || now_ - frame.sent <= policies().mpl;
    }
    void submit(int i, std::size_t count);
    void take(int i);
    void deliver(End& end, const DeliverItem& item);
    void arrive(int to, const Bytes& frame);
    void settle(int i);
    void forge(Script& script);
    void network(Script& script, std::uint8_t op);
    void pass(Duration d);
    void heal();

    bool is_forged_;
    PciFormat format_;
    Outbox out_;
    End ends_[2];
    std::deque<Frame> wire_[2];  // to each end
    std::deque<Frame> old_[2];
    Instant now_{1'000'000'000};
    std::uintptr_t next_token_ = 1;
};

Pair::Pair(std::uint8_t how, std::uint8_t more)
    : is_forged_((how & 0x80) != 0),
      format_((how & 0x40) != 0 ? PciFormat{1, 4, 2, 2, 2} : rina::kDefaultFormat) {
    EfcpPolicies p = policies_of(how);
    // Numbers of one byte roll over at once.
    const SeqSpace space(format_.sequence);
    if (p.window)
        p.window->initial_credit = std::min(p.window->initial_credit,
                                            format_.sequence == 1 ? 60u : 512u);
    if ((more & 1) != 0) p.initial_sequence = space.mask() - (more >> 4);
    if ((more & 2) != 0) p.mpl = Duration::milliseconds(50);
    SLUICE_CHECK(check(p, format_).has_value());
    for (int i = 0; i < 2; ++i)
        ends_[i].connection = std::make_unique<Connection>(ids_of(i), p, format_);
}

void Pair::submit(int i, std::size_t count) {
    End& end = ends_[i];
    std::vector<TxItem> items;
    for (std::size_t n = 0; n < count; ++n) {
        const PduToken token{next_token_++};
        items.push_back({token, 4});
        end.inside.insert(token);
        end.sdu_of[token] = end.submitted + static_cast<std::uint32_t>(n);
    }
    const std::size_t taken = end.connection->submit(now_, items, out_);
    SLUICE_CHECK(taken <= items.size());
    for (std::size_t n = taken; n < items.size(); ++n) end.inside.erase(items[n].token);
    end.submitted += static_cast<std::uint32_t>(taken);
    take(i);
    settle(i);
}

void Pair::deliver(End& end, const DeliverItem& item) {
    const Bytes frame = end.frame_of.at(item.token);
    SLUICE_CHECK(item.bytes + format_.bytes() <= frame.size());
    end.frame_of.erase(item.token);
    ++end.got;
    ++end.unread;
    if (is_forged_) return;
    SLUICE_CHECK(item.bytes == 4);
    const auto number = rina::detail::load<std::uint32_t>(frame.data() + format_.bytes());
    const End& from = &end == &ends_[0] ? ends_[1] : ends_[0];
    SLUICE_CHECK(number < from.submitted);
    // Without retransmission, a first PDU that more than 64 others have overtaken is taken for that
    // of another run: nothing tells the two cases apart.
    const bool is_other_run = !policies().reliable() && number + 64 < end.next;
    if (policies().in_order) SLUICE_CHECK(number >= end.next || is_other_run);
    if (policies().reliable()) SLUICE_CHECK(end.numbers.insert(number).second);
    if (policies().in_order && policies().reliable() && policies().max_sdu_gap == 0)
        SLUICE_CHECK(number == end.next);
    end.next = number + 1;
}

// Carries out what a connection said.
void Pair::take(int i) {
    End& end = ends_[i];
    const auto leave = [&](PduToken token) { SLUICE_CHECK(end.inside.erase(token) == 1); };
    for (const SendItem& item : out_.send) {
        SLUICE_CHECK(end.inside.contains(item.token));
        SLUICE_CHECK(item.pci.length == format_.bytes() + 4);
        Bytes frame(item.pci.length);
        rina::write(item.pci, format_, frame.data());
        rina::detail::store(frame.data() + format_.bytes(), end.sdu_of.at(item.token));
        wire_[1 - i].push_back({now_, std::move(frame)});
        if (!item.kept) leave(item.token);
    }
    for (const ControlItem& item : out_.control) {
        Bytes frame(item.pci.length);
        efcp::write(item, format_, frame.data());
        wire_[1 - i].push_back({now_, std::move(frame)});
    }
    for (const DeliverItem& item : out_.deliver) {
        leave(item.token);
        deliver(end, item);
    }
    for (const PduToken token : out_.done) leave(token);
    for (const DropItem& item : out_.drop) leave(item.token);
    out_.clear();
    while (wire_[1 - i].size() > 600) wire_[1 - i].pop_front();
}

void Pair::arrive(int to, const Bytes& frame) {
    End& end = ends_[to];
    RxItem item;
    if (rina::parse(frame, frame.size(), format_, item.pci) != rina::PciError::none ||
        item.pci.type == static_cast<std::uint8_t>(rina::PduType::management))
        return;
    item.token = PduToken{next_token_++};
    end.inside.insert(item.token);
    item.bytes = end.frame_of[item.token] = frame;
    SLUICE_CHECK(end.connection->on_burst(now_, {&item, 1}, out_) == 1);
    take(to);
    settle(to);
}

// A deadline that has passed says that there is more; it does not say so for ever.
void Pair::settle(int i) {
    for (int rounds = 0; ends_[i].connection->next_deadline() <= now_; ++rounds) {
        SLUICE_CHECK(rounds < 2000);
        ends_[i].connection->on_timeout(now_, out_);
        take(i);
    }
}

void Pair::pass(Duration d) {
    now_ = now_ + d;
    for (int i = 0; i < 2; ++i) settle(i);
}

void Pair::network(Script& script, std::uint8_t op) {
    const std::uint8_t how = script.byte();
    const int to = how & 1;
    auto& wire = wire_[to];
    if (op == 3) {  // all that is on the way
        for (std::size_t n = wire.size(); n > 0; --n) {
            const Frame frame = std::move(wire.front());
            wire.pop_front();
            if (is_alive(frame)) arrive(to, frame.bytes);
        }
        return;
    }
    if (op == 6 && !old_[to].empty()) {
        const Frame& frame = old_[to][(how >> 1) % old_[to].size()];
        if (is_alive(frame)) arrive(to, Bytes(frame.bytes));
        return;
    }
    if (wire.empty()) return;
    const auto at = wire.begin() + static_cast<long>((how >> 1) % wire.size());
    const Frame frame = *at;
    wire.erase(at);
    old_[to].push_back(frame);
    if (old_[to].size() > 16) old_[to].pop_front();
    if (op == 5) return;
    if (is_alive(frame)) arrive(to, frame.bytes);
}

// From the other end's address, as a relay could.
void Pair::forge(Script& script) {
    if (!is_forged_) return;
    const std::uint8_t how = script.byte();
    const int to = how & 1;
    constexpr std::uint8_t kTypes[] = {0x80, 0xc4, 0xc8, 0xcc, 0xce, 0xc6, 0xcf, 0x80};
    rina::Pci pci;
    pci.type = kTypes[how >> 1 & 7];
    pci.flags = (how & 0x10) != 0 ? rina::pci_flag::kDrf : 0;
    if ((how & 0x20) != 0) pci.flags |= rina::pci_flag::kEcn;
    pci.sequence = script.number();
    pci.source = kAddress[1 - to];
    pci.destination = kAddress[to];
    pci.source_cep = kCep[1 - to];
    pci.destination_cep = how >= 0xfe ? rina::CepId{1} : kCep[to];
    rina::ControlPdu fields;
    Bytes tail;
    if (rina::is_control(pci.type)) {
        const Connection& target = *ends_[to].connection;
        // Near what it has sent, and anywhere.
        const std::uint64_t base = (how & 0x40) != 0 ? target.sender().unacked() : 0;
        fields.ack = base + script.number();
        fields.new_rwe = base + script.number();
        fields.new_lwe = base + script.byte();
        fields.my_lwe = script.number();
        fields.my_rwe = script.number();
    }
    const auto piece = script.piece(script.byte() % 40);
    tail.assign(piece.begin(), piece.end());
    const std::size_t head = rina::is_control(pci.type) ? format_.control_bytes()
                                                        : format_.bytes();
    Bytes frame(head + tail.size());
    pci.length = static_cast<std::uint32_t>(frame.size());
    rina::write(pci, format_, frame.data());
    if (rina::is_control(pci.type)) rina::write_control(fields, format_, frame.data());
    std::copy(tail.begin(), tail.end(), frame.begin() + static_cast<long>(head));
    arrive(to, frame);
}

void Pair::step(Script& script) {
    const std::uint8_t op = script.byte() % 12;
    switch (op) {
        case 0:
        case 1: return submit(op, script.byte() % 40);
        case 2:
        case 3:
        case 4:
        case 5:
        case 6: return network(script, op);
        case 7: return forge(script);
        case 8: return pass(Duration::milliseconds(script.byte()));
        case 9: {
            const Instant next = earlier(ends_[0].connection->next_deadline(),
                                         ends_[1].connection->next_deadline());
            if (!next.is_never()) pass(std::max(next - now_, Duration{}));
            return;
        }
        case 10: {
            const int i = script.byte() & 1;
            const std::uint32_t read = std::min<std::uint32_t>(script.byte(), ends_[i].unread);
            ends_[i].unread -= read;
            ends_[i].connection->consumed(now_, read, out_);
            take(i);
            return settle(i);
        }
        default: {
            const std::uint8_t how = script.byte();
            if (how >= 0xf0) {
                ends_[how & 1].connection->close(now_, Duration::seconds(how & 2), out_);
                take(how & 1);
                return settle(how & 1);
            }
            return pass(Duration::seconds(how % 8));
        }
    }
}

// The network gets well, and the users read.
void Pair::heal() {
    for (int rounds = 0; rounds < 400; ++rounds) {
        for (int to = 0; to < 2; ++to) {
            for (std::size_t n = wire_[to].size(); n > 0; --n) {
                const Frame frame = std::move(wire_[to].front());
                wire_[to].pop_front();
                if (is_alive(frame)) arrive(to, frame.bytes);
            }
            if (ends_[to].unread != 0)
                ends_[to].connection->consumed(now_, std::exchange(ends_[to].unread, 0), out_);
            take(to);
            settle(to);
        }
        if (!wire_[0].empty() || !wire_[1].empty()) continue;
        const bool is_done = ends_[0].connection->sender().empty() &&
                             ends_[1].connection->sender().empty();
        const Instant next = earlier(ends_[0].connection->next_deadline(),
                                     ends_[1].connection->next_deadline());
        if (is_done || next.is_never()) break;
        pass(std::max(next - now_, Duration{}));
    }
}

void Pair::end() {
    const auto is_open = [&](int i) {
        return ends_[i].connection->state() == Connection::State::open;
    };
    if (!is_forged_ && is_open(0) && is_open(1)) {
        heal();
        // Reliable is what comes, whatever the network did before, unless that was for so long that
        // an end has given up.
        if (policies().reliable() && is_open(0) && is_open(1))
            for (int i = 0; i < 2; ++i) SLUICE_CHECK(ends_[i].got == ends_[1 - i].submitted);
    }
    for (int i = 0; i < 2; ++i) {
        for (bool all = false; !all; take(i)) all = ends_[i].connection->abort(out_);
        SLUICE_CHECK(ends_[i].inside.empty());
        SLUICE_CHECK(ends_[i].connection->holds_nothing());
        SLUICE_CHECK(ends_[i].connection->next_deadline().is_never());
    }
}

}  // namespace

bool efcp(std::span<const std::byte> bytes) {
    Script script(bytes);
    const std::uint8_t how = script.byte();
    Pair pair(how, script.byte());
    while (!script.at_end()) pair.step(script);
    pair.end();
    return pair.is_fruitful();
}

}  // namespace sluice::fuzz
