#include "ipc_process.hpp"
#include "normal_dif/core/efcp/control_pdu.hpp"

// What the dataplane's adapters are around data transfer: from SDUs to PDUs, from PDUs to frames of
// the DIFs below, and back.
namespace sluice::sim {

using rmt::N1PortId;

namespace {

constexpr std::uint32_t kUserDataMax = 1400;  // of a PDU; longer SDUs are cut
constexpr std::uint16_t kRoom = 64;           // around a frame, for SDU protection

}  // namespace

// ---- what data transfer wants done ----

Bytes IpcProcess::frame_of(const rina::Pci& pci, std::span<const std::byte> payload) const {
    const rina::PciFormat& format = config_.ipcp.format;
    Bytes out(format.bytes() + payload.size());
    rina::write(pci, format, out.data());
    std::copy(payload.begin(), payload.end(), out.begin() + static_cast<long>(format.bytes()));
    return out;
}

void IpcProcess::drain_out() {
    // What is looped back and handed up comes later, so this has an end.
    transfer::TransferOutbox out = std::exchange(out_, {});
    const rina::PciFormat& format = config_.ipcp.format;
    for (const auto& f : out.forward) {
        Bytes bytes = env_.buffers.take(f.token);
        if (!watch_.is_whole(bytes, f.bytes)) continue;
        watch_.relayed(ttl_, bytes);
        bytes.resize(f.bytes);
        enqueue(f.port, std::move(bytes), f.qos);
    }
    for (const auto& o : out.originate) {
        Bytes frame = frame_of(o.item.pci, env_.buffers.at(o.item.token));
        if (!o.item.kept) env_.buffers.free(o.item.token);
        if (o.port == rmt::kNoN1Port)
            loop_back(std::move(frame));
        else
            enqueue(o.port, std::move(frame), o.item.pci.qos);
    }
    for (const auto& c : out.control) {
        Bytes frame(c.item.pci.length);
        efcp::write(c.item, format, frame.data());
        if (c.port == rmt::kNoN1Port)
            loop_back(std::move(frame));
        else
            enqueue(c.port, std::move(frame), c.item.pci.qos);
    }
    for (const auto& d : out.deliver) deliver(d);
    for (const PduToken token : out.done) env_.buffers.free(token);
    for (const efcp::DropItem& item : out.drop) {
        env_.buffers.free(item.token);
        env_.drop(item.reason);
    }
    for (const auto& e : out.events) {
        const auto at = flows_.find(e.flow);
        if (at == flows_.end() || at->second.user == nullptr) continue;
        const bool fails = (e.events & efcp::event::kFailed) != 0;
        if (const auto* const c = transfer_.find(e.flow); fails && c != nullptr)
            watch_.flow_failed(*c);
        if (fails) at->second.is_failed = true;
        if (fails || (e.events & efcp::event::kWritable) != 0)
            env_.clock.after({}, guarded([this, id = e.flow, fails] {
                const auto it = flows_.find(id);
                if (it == flows_.end() || it->second.user == nullptr) return;
                if (fails)
                    it->second.user->closed(*this, id);
                else
                    it->second.user->writable(*this, id);
            }));
    }
    for (const auto& m : out.management) {
        const Bytes bytes = env_.buffers.take(m.token);
        if (!watch_.is_whole(bytes, m.pci.length)) return;
        const std::span<const std::byte> pdu(bytes.data(), m.pci.length);
        const auto payload = pdu.subspan(format.bytes());
        if (m.pci.destination == rina::kThisHop) watch_.message_comes(m.from, payload);
        ipcp_->received(env_.now(), m.from, m.pci, payload);
    }
}

void IpcProcess::deliver(const transfer::TransferOutbox::Deliver& item) {
    const auto at = flows_.find(item.flow);
    if (at == flows_.end() || at->second.user == nullptr) {
        env_.buffers.free(item.item.token);
        return;
    }
    const std::uint64_t length = config_.ipcp.format.bytes() + item.item.bytes;
    if (!watch_.is_whole(env_.buffers.at(item.item.token), length))
        return env_.buffers.free(item.item.token);
    if (at->second.reassembler != nullptr) {
        reassemble(item.flow, at->second, item);
    } else {
        const Bytes frame = env_.buffers.take(item.item.token);
        const auto from = frame.begin() + static_cast<long>(config_.ipcp.format.bytes());
        hand_up(item.flow, {from, from + item.item.bytes});
    }
    unread_[item.flow] += 1;
    if (const auto* const c = transfer_.find(item.flow)) watch_.unread(*c, unread_[item.flow]);
    if (reads_slowly_) return;
    const std::uint32_t pdus = std::exchange(unread_[item.flow], 0);
    env_.clock.after({}, guarded([this, id = item.flow, pdus] {
        transfer_.consumed(env_.now(), id, pdus, out_);
        drain_out();
        arm();
    }));
}

void IpcProcess::reassemble(PortId id, Flow& flow, const transfer::TransferOutbox::Deliver& item) {
    const std::size_t header = config_.ipcp.format.bytes();
    const Bytes& frame = env_.buffers.at(item.item.token);
    flow.reassembler->on_pdu(item.item.sequence, item.item.token,
                             std::span(frame).subspan(header, item.item.bytes), item.item.bytes);
    while (const auto piece = flow.reassembler->take_piece()) {
        const Bytes& part = env_.buffers.at(piece->token);
        const auto from = part.begin() + static_cast<long>(header + piece->offset);
        flow.partial.insert(flow.partial.end(), from, from + piece->bytes);
        if (piece->is_last_of_token) env_.buffers.free(piece->token);
        if (piece->ends_sdu) hand_up(id, std::exchange(flow.partial, {}));
    }
    while (const auto dropped = flow.reassembler->take_dropped()) {
        env_.buffers.free(dropped->token);
        env_.drop(dropped->reason);
    }
}

void IpcProcess::drop_partial(Flow& flow) {
    if (flow.reassembler == nullptr) return;
    flow.reassembler->abandon();
    while (const auto dropped = flow.reassembler->take_dropped()) {
        env_.buffers.free(dropped->token);
        env_.drop(dropped->reason);
    }
}

void IpcProcess::hand_up(PortId flow, Bytes sdu) {
    env_.clock.after({}, guarded([this, flow, sdu = std::move(sdu)] {
        const auto at = flows_.find(flow);
        if (at != flows_.end() && at->second.user != nullptr)
            at->second.user->arrived(*this, flow, sdu);
    }));
}

// ---- to and from the DIFs below ----

void IpcProcess::enqueue(N1PortId id, Bytes frame, rina::QosId qos) {
    const auto at = ports_.find(id);
    if (at == ports_.end()) return env_.drop(DropReason::dif_n1_down);
    const auto bytes = static_cast<std::uint32_t>(frame.size());
    const PduToken token = env_.buffers.make(std::move(frame));
    const rmt::SchedItem item{token, bytes, qos};
    rmt::Enqueue result{};
    rmt::enqueue(at->second.scheduler, env_.now(), {&item, 1}, {&result, 1});
    if (result == rmt::Enqueue::dropped) {
        env_.buffers.free(token);
        return env_.drop(DropReason::dif_queue_full);
    }
    if (result == rmt::Enqueue::marked)
        rmt::mark_congestion(env_.buffers.at(token).data(), config_.protection == "inet");
    pull(id);
}

// As long as the DIF below takes something. A frame that it does not take waits in front.
void IpcProcess::pull(N1PortId id) {
    N1Port& port = ports_.at(id);
    while (rmt::backlog(port.scheduler).pdus != 0) {
        if (!port.lower->write(port.flow, {})) return;
        rmt::SchedItem item;
        if (rmt::dequeue(port.scheduler, env_.now(), ~std::uint64_t{0}, {&item, 1}) == 0) return;
        send_frame(port, env_.buffers.take(item.token));
    }
}

void IpcProcess::send_frame(N1Port& port, Bytes frame) {
    Bytes room(frame.size() + 2 * kRoom);
    std::copy(frame.begin(), frame.end(), room.begin() + kRoom);
    sdup::Frame sealed;
    sealed.data = room.data() + kRoom;
    sealed.bytes = static_cast<std::uint32_t>(frame.size());
    sealed.headroom = sealed.tailroom = kRoom;
    sdup::seal(port.protection.sealer, env_.now(), {&sealed, 1});
    if (sealed.dropped) return env_.drop(sealed.reason);
    port.lower->write(port.flow, {sealed.data, sealed.data + sealed.bytes});
}

void IpcProcess::loop_back(Bytes frame) {
    env_.clock.after({}, guarded([this, frame = std::move(frame)] {
        take_frames(rmt::kNoN1Port, frame);
    }));
}

void IpcProcess::take_frames(N1PortId port, Bytes frame) {
    const auto bytes = static_cast<std::uint32_t>(frame.size());
    ttl_ = watch_.ttl_of(frame);
    const PduToken token = env_.buffers.make(std::move(frame));
    const rmt::RxPdu pdu{token, env_.buffers.at(token).data(), bytes, bytes, port};
    transfer_.on_pdus(env_.now(), {&pdu, 1}, out_);
    drain_out();
    act();
}

void IpcProcess::arrived(Provider& dif, PortId flow, Bytes sdu) {
    const auto at = by_flow_.find({&dif, flow});
    if (at == by_flow_.end()) return env_.drop(DropReason::no_flow);
    const Bytes sealed(sdu.begin(), sdu.begin() + static_cast<long>(
                                                      std::min<std::size_t>(sdu.size(), kRoom)));
    sdup::Frame frame;
    frame.data = sdu.data();
    frame.bytes = static_cast<std::uint32_t>(sdu.size());
    sdup::open(ports_.at(at->second).protection.opener, env_.now(), {&frame, 1});
    if (frame.dropped) return env_.drop(frame.reason);
    if (std::holds_alternative<sdup::AesGcmOpener>(ports_.at(at->second).protection.opener))
        watch_.opened(at->second, sealed);
    last_frame_.assign(frame.data, frame.data + frame.bytes);
    take_frames(at->second, last_frame_);
}

void IpcProcess::writable(Provider& dif, PortId flow) {
    const auto at = by_flow_.find({&dif, flow});
    if (at != by_flow_.end()) pull(at->second);
}

// ---- from the user ----

// An empty SDU asks whether there is room.
bool IpcProcess::write(PortId id, const Bytes& sdu) {
    const auto at = flows_.find(id);
    if (at == flows_.end() || at->second.is_failed) return true;
    const efcp::Connection* const connection = transfer_.find(id);
    if (connection == nullptr) return true;
    const efcp::EfcpPolicies& policies = connection->policies();
    const std::uint32_t parts =
        policies.delimiting
            ? efcp::Fragmenter::count(static_cast<std::uint32_t>(sdu.size()), kUserDataMax)
            : 1;
    // All of an SDU or nothing.
    if (connection->sender().queue_length() + parts > policies.queue_max()) {
        if (!std::exchange(at->second.wants_room, true))
            env_.clock.after(Duration::milliseconds(5), guarded([this, id] {
                const auto it = flows_.find(id);
                if (it == flows_.end()) return;
                it->second.wants_room = false;
                if (it->second.user != nullptr) it->second.user->writable(*this, id);
            }));
        return false;
    }
    if (sdu.empty()) return true;
    std::vector<efcp::TxItem> items;
    const auto add = [&](Bytes bytes) {
        const auto n = static_cast<std::uint32_t>(bytes.size());
        items.push_back({env_.buffers.make(std::move(bytes)), n});
    };
    if (policies.delimiting) {
        efcp::Fragmenter cut(static_cast<std::uint32_t>(sdu.size()), kUserDataMax);
        while (const auto part = cut.next()) {
            Bytes bytes(part->header.begin(), part->header.begin() + part->header_bytes);
            bytes.insert(bytes.end(), sdu.begin() + part->offset,
                         sdu.begin() + part->offset + part->bytes);
            add(std::move(bytes));
        }
    } else {
        add(sdu);
    }
    const std::size_t taken = transfer_.submit(env_.now(), id, items, out_);
    for (std::size_t i = taken; i < items.size(); ++i) {
        env_.buffers.free(items[i].token);
        env_.drop(DropReason::app_refused);
    }
    drain_out();
    act();
    return true;
}

}  // namespace sluice::sim
