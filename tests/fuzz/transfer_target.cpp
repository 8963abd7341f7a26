#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "base/check.hpp"
#include "dif_targets.hpp"
#include "normal_dif/core/efcp/control_pdu.hpp"
#include "normal_dif/core/transfer/data_transfer.hpp"
#include "script.hpp"

namespace sluice::fuzz {

namespace {

using namespace sluice::transfer;
using rina::Address;
using rina::CepId;
using rmt::N1PortId;

using Bytes = std::vector<std::byte>;

constexpr Address kOwn{1};
constexpr std::uint32_t kCeps = 6, kEarlyMax = 4;
constexpr std::size_t kLoopMax = 64;

// Two of them are far from the others: tables that look addresses up by themselves do not do.
Address address_of(unsigned n) {
    constexpr std::uint64_t kAddresses[] = {0, 1, 2, 3, 4, 5, 70'000, 0x7fff'ffff};
    return Address{kAddresses[n % 8]};
}

TransferConfig config_of(std::uint8_t how) {
    TransferConfig config;
    config.rmt.own = kOwn;
    if ((how & 1) != 0) config.rmt.format = rina::kWideFormat;
    config.rmt.inet_checksum = (how & 2) != 0;
    config.rmt.split_horizon = (how & 4) == 0;
    config.early_max = kEarlyMax;
    return config;
}

class Node {
  public:
    explicit Node(std::uint8_t how) : config_(config_of(how)), data_(config_) {
        for (std::uint16_t i = 0; i < 3; ++i) data_.set_port(N1PortId{i}, true);
    }
    void step(Script& script);
    void end();
    bool is_fruitful() const { return delivered_ + forwarded_ != 0; }

  private:
    struct Bound {
        PortId port{};
        Address peer{};
        bool has_peer = false;
        bool is_drained = false;
        std::uint32_t unread = 0;
    };

    mgmt::FlowTerms terms_of(std::uint8_t how) const;
    void bind(Script& script);
    void change(Script& script, std::uint8_t op);
    void routes(Script& script);
    void arrive(Script& script);
    void submit(Script& script);
    void loop(Script& script);
    void give(std::vector<rmt::RxPdu>& burst);
    void come_back(Bytes frame);
    void take();
    Bytes frame_of(Script& script) const;
    void check_rewritten(const TransferOutbox::Forward& forward);

    TransferConfig config_;
    DataTransfer data_;
    TransferOutbox out_;
    Instant now_{1'000'000'000};
    std::map<std::uint32_t, Bound> bound_;  // by CEP-id
    std::set<PduToken> inside_;
    std::map<PduToken, Bytes> frames_;  // as they came, of this burst
    std::vector<Bytes> buffers_;        // of this burst
    std::map<PduToken, std::size_t> buffer_of_;
    std::vector<Bytes> own_;  // what we sent to ourselves lately
    std::deque<Bytes> loop_;  // what of it is on the way
    std::uintptr_t next_token_ = 1;
    std::uint32_t next_port_ = 100;
    std::size_t delivered_ = 0, forwarded_ = 0;
};

mgmt::FlowTerms Node::terms_of(std::uint8_t how) const {
    mgmt::FlowTerms terms;
    switch (how % 4) {
        case 0: terms.policies = efcp::EfcpPolicies::best_effort(); break;
        case 1: terms.policies = efcp::EfcpPolicies::rlite_reliable(); break;
        case 2: terms.policies = efcp::EfcpPolicies::sluice_reliable(16); break;
        default: terms.policies = efcp::EfcpPolicies::rlite_flow_control(8);
    }
    return terms;
}

void Node::bind(Script& script) {
    const std::uint8_t how = script.byte();
    const std::uint32_t cep = how % kCeps;
    if (bound_.contains(cep)) return;
    mgmt::Bind bind;
    bind.port = PortId{next_port_++};
    bind.cep = CepId{cep};
    bind.peer = address_of(how / 8u % 4);
    if ((how & 0x80) != 0) bind.peer_cep = CepId{script.byte() % 4u};
    bind.terms = terms_of(script.byte());
    data_.bind(now_, bind);
    bound_[cep] = {bind.port, bind.peer, bind.peer_cep.has_value(), false, 0};
}

void Node::change(Script& script, std::uint8_t op) {
    const std::uint32_t cep = script.byte() % (kCeps + 1);
    const auto at = bound_.find(cep);
    const PortId port = at == bound_.end() ? PortId{1} : at->second.port;
    switch (op) {
        case 1:
            data_.set_peer(now_, {port, CepId{cep},
                                  at == bound_.end() ? Address{} : at->second.peer,
                                  CepId{script.byte() % 4u}, rina::QosId{0},
                                  terms_of(script.byte())},
                           out_);
            if (at != bound_.end()) at->second.has_peer = true;
            break;
        case 2:
            data_.drain(now_, {port, CepId{cep}}, out_);
            if (at != bound_.end()) at->second.is_drained = true;
            break;
        case 3: data_.shut(now_, {port, CepId{cep}}, out_); break;
        default:
            data_.unbind({port, CepId{cep}}, out_);
            if (at != bound_.end()) bound_.erase(at);
            SLUICE_CHECK(data_.find(port) == nullptr);
    }
}

void Node::routes(Script& script) {
    std::vector<rmt::Route> routes;
    for (int i = script.byte() % 6; i > 0; --i) {
        const std::uint8_t how = script.byte();
        rmt::Route route;
        route.destination = address_of(how);
        if ((how & 8) != 0) route.qos = rina::QosId{static_cast<std::uint16_t>(how / 16 % 3)};
        for (int n = script.byte() % 4; n > 0; --n) {
            const std::uint8_t hop = script.byte();
            route.hops.ports.push_back({N1PortId{static_cast<std::uint16_t>(hop % 4)},
                                        static_cast<std::uint16_t>(hop / 4 % 4)});
        }
        if ((how & 0x80) != 0) route.hops.alternate = N1PortId{2};
        routes.push_back(std::move(route));
    }
    static_cast<void>(data_.set_routes(std::move(routes)));
}

// A PDU with small numbers, or no PDU at all.
Bytes Node::frame_of(Script& script) const {
    const rina::PciFormat& format = config_.rmt.format;
    const std::uint8_t how = script.byte();
    if (how >= 0xf0) {
        const auto piece = script.piece(script.byte() % 80);
        return Bytes(piece.begin(), piece.end());
    }
    if (how >= 0xe0 && !own_.empty()) return own_[how % own_.size()];
    constexpr std::uint8_t kTypes[] = {0x80, 0x80, 0x40, 0xc4, 0xcc, 0xce, 0xcf, 0x11};
    rina::Pci pci;
    pci.type = kTypes[how & 7];
    if ((how & 8) != 0) pci.flags = rina::pci_flag::kDrf;
    const std::uint8_t addresses = script.byte();
    pci.destination = address_of(addresses);
    pci.source = address_of(addresses >> 3);
    if ((addresses & 0x40) != 0) pci.destination = kOwn;
    const std::uint8_t ceps = script.byte();
    pci.destination_cep = CepId{ceps & 7u};
    pci.source_cep = CepId{ceps >> 3 & 3u};
    pci.ttl = static_cast<std::uint16_t>(ceps >> 6);
    pci.qos = rina::QosId{static_cast<std::uint16_t>(how >> 6)};
    pci.sequence = script.number();
    const std::size_t head = rina::is_control(pci.type) ? format.control_bytes() : format.bytes();
    const auto piece = script.piece(script.byte() % 24);
    Bytes frame(head + piece.size());
    std::copy(piece.begin(), piece.end(), frame.begin() + static_cast<long>(head));
    pci.length = static_cast<std::uint32_t>(frame.size() - ((how & 0x10) != 0 ? piece.size() : 0));
    rina::write(pci, format, frame.data());
    if (rina::is_control(pci.type)) {
        rina::ControlPdu fields;
        fields.ack = script.byte();
        fields.new_rwe = script.byte();
        rina::write_control(fields, format, frame.data());
    }
    return frame;
}

void Node::arrive(Script& script) {
    std::vector<rmt::RxPdu> burst;
    buffers_.clear();
    buffer_of_.clear();
    frames_.clear();
    const std::size_t count = 1 + script.byte() % 6;
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint8_t from = script.byte();
        // Ours come back from nowhere.
        const N1PortId port = from % 8 == 7 ? rmt::kNoN1Port
                                            : N1PortId{static_cast<std::uint16_t>(from % 4)};
        buffers_.push_back(frame_of(script));
        const PduToken token{next_token_++};
        inside_.insert(token);
        frames_[token] = buffers_.back();
        buffer_of_[token] = i;
        burst.push_back({token, nullptr, 0, 0, port});
    }
    give(burst);
}

void Node::give(std::vector<rmt::RxPdu>& burst) {
    for (std::size_t i = 0; i < burst.size(); ++i) {
        burst[i].head = buffers_[i].data();
        burst[i].head_bytes = burst[i].frame_bytes = static_cast<std::uint32_t>(buffers_[i].size());
    }
    data_.on_pdus(now_, burst, out_);
    take();
    buffer_of_.clear();
}

// Flows between applications of this node: what was sent comes back, but for what is lost.
void Node::loop(Script& script) {
    const std::uint8_t how = script.byte();
    std::uint8_t lost = (how & 0x80) != 0 ? script.byte() : 0;
    std::vector<rmt::RxPdu> burst;
    buffers_.clear();
    frames_.clear();
    for (std::size_t n = std::min<std::size_t>(how & 0x3f, loop_.size()); n > 0; --n) {
        // Now and then what came last comes first.
        Bytes& next = (how & 0x40) != 0 ? loop_.back() : loop_.front();
        if ((lost & 1) == 0) buffers_.push_back(std::move(next));
        (how & 0x40) != 0 ? loop_.pop_back() : loop_.pop_front();
        lost = static_cast<std::uint8_t>(lost >> 1);
    }
    for (std::size_t i = 0; i < buffers_.size(); ++i) {
        const PduToken token{next_token_++};
        inside_.insert(token);
        frames_[token] = buffers_[i];
        buffer_of_[token] = i;
        burst.push_back({token, nullptr, 0, 0, rmt::kNoN1Port});
    }
    if (!burst.empty()) give(burst);
}

void Node::come_back(Bytes frame) {
    own_.push_back(frame);
    if (own_.size() > 8) own_.erase(own_.begin());
    loop_.push_back(std::move(frame));
    if (loop_.size() > kLoopMax) loop_.pop_front();
}

// A hop less, and nothing else is changed but the checksum.
void Node::check_rewritten(const TransferOutbox::Forward& forward) {
    SLUICE_CHECK(rmt::is_n1_port(forward.port));
    Bytes before = frames_.at(forward.token);
    const Bytes& after = buffers_[buffer_of_.at(forward.token)];
    SLUICE_CHECK(forward.bytes <= after.size());
    rina::Pci was, is;
    SLUICE_CHECK(rina::parse(before, before.size(), config_.rmt.format, was) ==
                     rina::PciError::none &&
                 rina::parse(after, after.size(), config_.rmt.format, is) == rina::PciError::none);
    SLUICE_CHECK(was.ttl > 0 && is.ttl + 1 == was.ttl && was.destination != Address{0});
    SLUICE_CHECK(!data_.rmt().is_own(was.destination));
    const auto head = rina::PciFormat::kSequenceAt;
    SLUICE_CHECK(std::equal(before.begin() + head, before.end(), after.begin() + head));
}

void Node::take() {
    const auto leave = [&](PduToken token) { SLUICE_CHECK(inside_.erase(token) == 1); };
    for (const auto& f : out_.forward) {
        check_rewritten(f);
        leave(f.token);
        ++forwarded_;
    }
    for (const auto& o : out_.originate) {
        SLUICE_CHECK(inside_.contains(o.item.token));
        if (o.port == rmt::kNoN1Port) {
            Bytes frame(o.item.pci.length);
            rina::write(o.item.pci, config_.rmt.format, frame.data());
            come_back(std::move(frame));
        }
        if (!o.item.kept) leave(o.item.token);
    }
    for (const auto& c : out_.control) {
        if (c.port != rmt::kNoN1Port) continue;
        Bytes frame(c.item.pci.length);
        efcp::write(c.item, config_.rmt.format, frame.data());
        come_back(std::move(frame));
    }
    for (const auto& d : out_.deliver) {
        const auto is_its = [&](const auto& b) { return b.second.port == d.flow; };
        const auto at = std::find_if(bound_.begin(), bound_.end(), is_its);
        // Nothing for a flow that has gone, or whose user has.
        SLUICE_CHECK(at != bound_.end() && !at->second.is_drained && at->second.has_peer);
        ++at->second.unread;
        leave(d.item.token);
        ++delivered_;
    }
    for (const auto& m : out_.management) leave(m.token);
    for (const PduToken token : out_.done) leave(token);
    for (const auto& d : out_.drop) leave(d.token);
    out_.clear();
    SLUICE_CHECK(data_.flows() == bound_.size());
    std::size_t waiting = 0;
    for (const auto& [cep, bound] : bound_) waiting += bound.has_peer ? 0 : 1;
    if (waiting == bound_.size()) SLUICE_CHECK(inside_.size() <= waiting * kEarlyMax);
}

void Node::submit(Script& script) {
    const std::uint32_t cep = script.byte() % kCeps;
    const auto at = bound_.find(cep);
    const PortId port = at == bound_.end() ? PortId{1} : at->second.port;
    std::vector<efcp::TxItem> items;
    for (int n = script.byte() % 40; n > 0; --n) {
        items.push_back({PduToken{next_token_++}, 8});
        inside_.insert(items.back().token);
    }
    const std::size_t taken = data_.submit(now_, port, items, out_);
    SLUICE_CHECK(taken <= items.size() && (taken == 0 || at != bound_.end()));
    for (std::size_t n = taken; n < items.size(); ++n) inside_.erase(items[n].token);
}

void Node::step(Script& script) {
    const std::uint8_t op = script.byte() % 14;
    switch (op) {
        case 0: bind(script); break;
        case 1:
        case 2:
        case 3:
        case 4: change(script, op); break;
        case 5: routes(script); break;
        case 6:
        case 7: return arrive(script);
        case 8: submit(script); break;
        case 13: return loop(script);
        case 9: {
            const auto at = bound_.find(script.byte() % kCeps);
            if (at == bound_.end()) return;
            data_.consumed(now_, at->second.port, std::exchange(at->second.unread, 0), out_);
            break;
        }
        case 10: {
            const std::uint8_t how = script.byte();
            data_.set_port(N1PortId{static_cast<std::uint16_t>(how % 4)}, (how & 4) != 0);
            if (how >= 0xf8) data_.set_address(Address{how & 3u});
            break;
        }
        default: {
            now_ = now_ + Duration::milliseconds(script.byte() * (op == 11 ? 1 : 100));
            for (int i = 0; data_.next_deadline() <= now_; ++i) {
                SLUICE_CHECK(i < 2000);
                data_.on_timeout(now_, out_);
                take();
            }
        }
    }
    take();
}

void Node::end() {
    bound_.clear();
    data_.unbind_all(out_);
    take();
    SLUICE_CHECK(inside_.empty());
    SLUICE_CHECK(data_.flows() == 0 && data_.next_deadline().is_never());
}

}  // namespace

bool transfer(std::span<const std::byte> bytes) {
    Script script(bytes);
    Node node(script.byte());
    while (!script.at_end()) node.step(script);
    node.end();
    return node.is_fruitful();
}

}  // namespace sluice::fuzz
