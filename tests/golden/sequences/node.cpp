#include "node.hpp"

#include <algorithm>
#include <utility>

#include "base/check.hpp"
#include "normal_dif/core/efcp/control_pdu.hpp"
#include "rina/rlite_name.hpp"

namespace sluice::golden {

using rmt::N1PortId;

namespace {

constexpr std::uint16_t kRoom = 64;  // around a PDU, for its protection

rina::AppName named(const std::string& text) {
    auto name = rina::parse_rlite_name(text);
    SLUICE_CHECK(name);
    return std::move(*name);
}

std::unique_ptr<mgmt::Ipcp> make_ipcp(mgmt::IpcpConfig config, mgmt::IdPool& ports,
                                      const std::vector<Lower>& lowers) {
    for (const Lower& lower : lowers) config.lower_difs.push_back(lower.dif);
    config.ports = &ports;
    auto made = mgmt::Ipcp::create(Instant{}, std::move(config));
    SLUICE_CHECK(made);
    return std::move(*made);
}

transfer::TransferConfig transfer_config(const NodeConfig& config) {
    transfer::TransferConfig out;
    out.rmt.own = config.ipcp.address;
    out.rmt.inet_checksum = config.protection == "inet";
    return out;
}

void put16(Bytes& to, unsigned value) {
    to.push_back(static_cast<std::byte>(value >> 8));
    to.push_back(static_cast<std::byte>(value));
}

std::uint32_t ip_of(const shim_udp::IpAddress& address) {
    return be32(std::as_bytes(std::span(address.bytes)), 12);
}

}  // namespace

Node::Node(NodeConfig config)
    : config_(std::move(config)),
      ports_(mgmt::IdPool::of_width(2, Duration::seconds(10))),
      ipcp_(make_ipcp(config_.ipcp, ports_, config_.lowers)),
      data_(transfer_config(config_)) {
    for (const Lower& lower : config_.lowers) {
        auto made = std::make_unique<Below>();
        made->lower = lower;
        auto protection = sdup::make_protection(config_.protection, {}, rina::kDefaultFormat);
        SLUICE_CHECK(protection);
        made->protection = std::move(*protection);
        if (lower.over_udp) {
            made->udp = std::make_unique<shim_udp::Shim>(shim_udp::Config{}, made->udp_out);
            made->udp->set_link(now_, true);
            SLUICE_CHECK(made->udp->register_app(now_, named(config_.ipcp.name)));
        } else {
            shim_eth::Config shim;
            shim.mac = lower.mac;
            shim.vlan = lower.vlan;
            made->eth = std::make_unique<shim_eth::Shim>(shim, made->eth_out);
            made->eth->set_link(now_, true);
            SLUICE_CHECK(made->eth->register_app(named(config_.ipcp.name)));
        }
        belows_.push_back(std::move(made));
    }
    run_shims();
    act();
}

// ---- time ----

void Node::advance(Instant to) {
    for (;;) {
        Instant next = ipcp_->next_deadline();
        for (const auto& below : belows_)
            next = std::min(next, below->eth ? below->eth->next_deadline()
                                             : below->udp->next_deadline());
        if (next > to) break;
        now_ = std::max(now_, next);
        for (const auto& below : belows_)
            below->eth ? below->eth->on_timeout(now_) : below->udp->on_timeout(now_);
        run_shims();
        if (ipcp_->next_deadline() <= now_) ipcp_->on_timeout(now_);
        act();
    }
    now_ = std::max(now_, to);
}

void Node::on_transfer_timeout() {
    const Instant next = data_.next_deadline();
    if (next == Instant::never()) return;
    now_ = std::max(now_, next);
    data_.on_timeout(now_, out_);
    drain();
}

// ---- what comes in ----

void Node::receive(std::size_t lower, const Bytes& frame) {
    Below& below = *belows_[lower];
    bool is_sdu = false;
    View sdu;
    if (below.eth) {
        const shim_eth::Verdict v = below.eth->on_frame(now_, frame);
        is_sdu = v.kind == shim_eth::Verdict::Kind::data || v.kind == shim_eth::Verdict::Kind::hold;
        drops_ += v.kind == shim_eth::Verdict::Kind::drop;
        sdu = View(frame).subspan(v.offset, v.length);
    } else {
        const auto socket = below.sockets.find(static_cast<std::uint16_t>(be16(frame, 10)));
        if (socket == below.sockets.end()) return;
        const shim_udp::Endpoint from{shim_udp::IpAddress::v4(be32(frame, 0)),
                                      static_cast<std::uint16_t>(be16(frame, 4))};
        const View payload = View(frame).subspan(kUdpHead);
        const auto v = below.udp->on_datagram(now_, socket->second, from, payload);
        is_sdu = v.kind != shim_udp::Verdict::Kind::drop;
        drops_ += !is_sdu;
        sdu = payload.subspan(v.offset, v.length);
    }
    // What asks for the flow comes before its first SDU.
    run_shims();
    act();
    if (is_sdu) take_sdu(below, sdu);
}

void Node::take_sdu(Below& below, View sdu) {
    Bytes bytes(sdu.begin(), sdu.end());
    sdup::Frame frame;
    frame.data = bytes.data();
    frame.bytes = static_cast<std::uint32_t>(bytes.size());
    sdup::open(below.protection.opener, now_, {&frame, 1});
    if (frame.dropped) {
        ++drops_;
        return;
    }
    receive_pdu(below.port->value, {frame.data, frame.data + frame.bytes});
}

void Node::receive_pdu(std::size_t lower, const Bytes& pdu) {
    const auto size = static_cast<std::uint32_t>(pdu.size());
    const PduToken token = keep(pdu);
    const rmt::RxPdu rx{token, at(token).data(), size, size, *belows_[lower]->port};
    data_.on_pdus(now_, {&rx, 1}, out_);
    drain();
}

PduToken Node::keep(Bytes bytes) {
    buffers_.push_back(std::move(bytes));
    return static_cast<PduToken>(buffers_.size());
}

// ---- actions ----

void Node::act() {
    for (auto list = ipcp_->take_actions(); !list.empty(); list = ipcp_->take_actions())
        for (mgmt::IpcpAction& action : list) act(action);
    drain();
}

void Node::act(mgmt::IpcpAction& action) {
    if (auto* s = std::get_if<mgmt::SendToNeighbor>(&action)) {
        originate(s->port, s->pci, s->payload);
    } else if (auto* m = std::get_if<mgmt::SendToMember>(&action)) {
        const rmt::Decision d = data_.route(m->pci);
        if (d.kind == rmt::Decision::Kind::forward) originate(d.port, m->pci, m->payload);
    } else if (auto* a = std::get_if<mgmt::AllocateLowerFlow>(&action)) {
        for (const auto& below : belows_)
            if (below->lower.dif == a->lower_dif) allocate(*below, a->peer);
    } else if (auto* r = std::get_if<mgmt::ReleaseLowerFlow>(&action)) {
        release(r->port);
    } else if (auto* p = std::get_if<mgmt::PublishRoutes>(&action)) {
        SLUICE_CHECK(data_.set_routes(std::move(p->routes)));
    } else if (auto* o = std::get_if<mgmt::AllowSource>(&action)) {
        SLUICE_CHECK(data_.set_source(o->port, o->source));
    } else if (auto* c = std::get_if<mgmt::AddressChanged>(&action)) {
        data_.set_address(c->address);
    } else if (auto* b = std::get_if<mgmt::Bind>(&action)) {
        flows_[b->cep] = b->port;
        data_.bind(now_, *b);
    } else if (auto* sp = std::get_if<mgmt::SetPeer>(&action)) {
        data_.set_peer(now_, *sp, out_);
    } else if (auto* d = std::get_if<mgmt::Drain>(&action)) {
        data_.drain(now_, *d, out_);
    } else if (auto* sh = std::get_if<mgmt::Shut>(&action)) {
        data_.shut(now_, *sh, out_);
    } else if (auto* u = std::get_if<mgmt::Unbind>(&action)) {
        data_.unbind(*u, out_);
        flows_.erase(u->cep);
    } else if (auto* q = std::get_if<mgmt::FlowRequested>(&action)) {
        SLUICE_CHECK(ipcp_->accept_flow(now_, q->port, 0));
    } else if (auto* gone = std::get_if<mgmt::FlowDeallocated>(&action)) {
        SLUICE_CHECK(ipcp_->deallocate_flow(now_, gone->port));
    }
}

// ---- data ----

bool Node::write(rina::CepId cep, View user_data) {
    const auto flow = flows_.find(cep);
    if (flow == flows_.end()) return false;
    const efcp::TxItem item{keep({user_data.begin(), user_data.end()}),
                            static_cast<std::uint32_t>(user_data.size())};
    const bool is_taken = data_.submit(now_, flow->second, {&item, 1}, out_) == 1;
    drain();
    return is_taken;
}

void Node::read_to(rina::CepId cep, std::uint64_t lwe) {
    const auto flow = flows_.find(cep);
    if (flow == flows_.end()) return;
    std::uint32_t& unread = unread_[flow->second];
    // Before the A-timer fired: it would tell of the first that is read.
    const Instant before = std::min(now_, data_.next_deadline() - Duration{1});
    while (unread > 0 && data_.find(flow->second)->receiver().lwe() < lwe) {
        --unread;
        data_.consumed(before, flow->second, 1, out_);
        drain();
    }
}

bool Node::close(std::uint64_t peer_port) {
    std::optional<PortId> port;
    ipcp_->flows().for_each([&](const mgmt::FlowInfo& info) {
        if (info.state == mgmt::FlowState::allocated && info.peer_port == peer_port)
            port = info.port;
    });
    if (!port) return false;
    const bool done = ipcp_->deallocate_flow(now_, *port).has_value();
    act();
    return done;
}

void Node::drain() {
    transfer::TransferOutbox out = std::exchange(out_, {});
    for (const auto& f : out.forward) {
        at(f.token).resize(f.bytes);
        send(f.port, at(f.token), true);
    }
    for (const auto& o : out.originate) originate(o.port, o.item.pci, at(o.item.token));
    for (const auto& c : out.control) {
        Bytes pdu(c.item.pci.length);
        efcp::write(c.item, rina::kDefaultFormat, pdu.data());
        send(c.port, std::move(pdu), false);
    }
    for (const auto& d : out.deliver) {
        ++unread_[d.flow];
        ++delivered_;
    }
    drops_ += static_cast<unsigned>(out.drop.size());
    for (const auto& m : out.management) {
        const View pdu = View(at(m.token)).first(m.pci.length);
        ipcp_->received(now_, m.from, m.pci, pdu.subspan(rina::kDefaultFormat.bytes()));
        act();
    }
}

void Node::originate(N1PortId port, const rina::Pci& pci, View payload) {
    Bytes pdu(rina::kDefaultFormat.bytes());
    rina::write(pci, rina::kDefaultFormat, pdu.data());
    pdu.insert(pdu.end(), payload.begin(), payload.end());
    send(port, std::move(pdu), false);
}

void Node::send(N1PortId port, Bytes pdu, bool relayed) {
    if (!relayed)
        rina::detail::store(pdu.data() + rina::PciFormat::kTtlAt,
                            ipcp_->is_member() ? config_.ttl : config_.ttl_outside);
    Bytes room(pdu.size() + 2 * kRoom);
    std::copy(pdu.begin(), pdu.end(), room.begin() + kRoom);
    sdup::Frame frame;
    frame.data = room.data() + kRoom;
    frame.bytes = static_cast<std::uint32_t>(pdu.size());
    frame.headroom = frame.tailroom = kRoom;
    frame.relayed = relayed;
    Below& to = below(port);
    sdup::seal(to.protection.sealer, now_, {&frame, 1});
    if (frame.dropped)
        ++drops_;
    else
        to.sent.push_back(framed(to, {frame.data, frame.bytes}));
}

// ---- below ----

Bytes Node::framed(const Below& below, View sdu) const {
    Bytes bytes;
    if (below.eth) {
        const shim_eth::Header header = below.eth->header_for(shim_eth::FlowHandle{below.flow});
        bytes.assign(header.view().begin(), header.view().end());
    } else if (const auto to = below.udp->target_for(shim_udp::FlowHandle{below.flow})) {
        const auto endpoint = [&bytes](std::uint32_t ip, unsigned port) {
            put16(bytes, ip >> 16);
            put16(bytes, ip & 0xffff);
            put16(bytes, port);
        };
        const auto socket =
            std::find_if(below.sockets.begin(), below.sockets.end(),
                         [&](const auto& one) { return one.second == to->socket; });
        endpoint(below.lower.address, socket == below.sockets.end() ? 0 : socket->first);
        endpoint(ip_of(to->to.address), to->to.port);
    }
    bytes.insert(bytes.end(), sdu.begin(), sdu.end());
    return bytes;
}

void Node::allocate(Below& below, const std::string& peer) {
    below.peer = peer;
    const rina::AppName own = named(config_.ipcp.name);
    if (below.eth) {
        const auto flow = below.eth->allocate(now_, own, named(peer), 1);
        SLUICE_CHECK(flow);
        below.flow = flow->value;
    } else {
        const auto flow = below.udp->allocate(now_, own, named(peer), 1);
        SLUICE_CHECK(flow);
        below.flow = flow->value;
    }
    run_shims();
}

void Node::flow_there(Below& below, std::uint32_t flow, bool asked) {
    std::size_t index = 0;
    while (belows_[index].get() != &below) ++index;
    below.flow = flow;
    below.port = N1PortId{static_cast<std::uint16_t>(index)};
    // rlite counts the flows below among the others of its node.
    SLUICE_CHECK(ports_.acquire(now_));
    data_.set_port(*below.port, true);
    if (asked)
        ipcp_->flow_up(now_, *below.port, below.lower.dif, below.peer);
    else
        ipcp_->flow_accepted(now_, *below.port, below.lower.dif);
}

void Node::release(N1PortId port) {
    Below& from = below(port);
    data_.set_port(port, false);
    if (from.eth)
        static_cast<void>(from.eth->deallocate(now_, shim_eth::FlowHandle{from.flow}));
    else
        static_cast<void>(from.udp->deallocate(now_, shim_udp::FlowHandle{from.flow}));
}

void Node::run_shims() {
    for (const auto& below : belows_) below->eth ? run_eth(*below) : run_udp(*below);
}

void Node::run_eth(Below& below) {
    while (!below.eth_out.empty()) {
        const auto actions = std::exchange(below.eth_out.actions, {});
        for (const shim_eth::Action& action : actions) {
            if (const auto* s = std::get_if<shim_eth::SendFrame>(&action)) {
                below.sent.push_back(s->bytes);
            } else if (const auto* a = std::get_if<shim_eth::FlowAllocated>(&action)) {
                flow_there(below, a->flow.value, true);
            } else if (const auto* r = std::get_if<shim_eth::FlowRequested>(&action)) {
                SLUICE_CHECK(below.eth->accept(now_, r->flow));
                flow_there(below, r->flow.value, false);
            }
        }
    }
}

void Node::run_udp(Below& below) {
    while (!below.udp_out.empty()) {
        const auto actions = std::exchange(below.udp_out.actions, {});
        for (const shim_udp::Action& action : actions) answer(below, action);
    }
}

// As the host's resolver and the kernel would.
void Node::answer(Below& below, const shim_udp::Action& action) {
    if (const auto* r = std::get_if<shim_udp::Resolve>(&action)) {
        const std::uint32_t ip = config_.hosts.at(rina::rlite_name(r->name));
        below.udp->on_resolved(now_, r->name, shim_udp::IpAddress::v4(ip));
    } else if (const auto* n = std::get_if<shim_udp::ResolveAddress>(&action)) {
        for (const auto& [name, ip] : config_.hosts)
            if (shim_udp::IpAddress::v4(ip) == n->address)
                below.udp->on_named(now_, n->address, named(name));
    } else if (const auto* o = std::get_if<shim_udp::OpenSocket>(&action)) {
        below.sockets[o->local.port != 0 ? o->local.port : config_.ephemeral_port] = o->socket;
        below.udp->on_socket(now_, o->socket);
    } else if (const auto* a = std::get_if<shim_udp::FlowAllocated>(&action)) {
        flow_there(below, a->flow.value, true);
    } else if (const auto* f = std::get_if<shim_udp::FlowRequested>(&action)) {
        SLUICE_CHECK(below.udp->accept(now_, f->flow));
        flow_there(below, f->flow.value, false);
    }
}

}  // namespace sluice::golden
