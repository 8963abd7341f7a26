#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "normal_dif/core/ipcp/ipcp.hpp"
#include "normal_dif/core/sdu_protection/policies.hpp"
#include "normal_dif/core/transfer/data_transfer.hpp"
#include "recording.hpp"
#include "shim_eth/core/shim_eth.hpp"
#include "shim_udp/core/shim_udp.hpp"

namespace sluice::golden {

struct NodeConfig {
    mgmt::IpcpConfig ipcp;
    std::vector<Lower> lowers;
    std::string protection = "none";
    // Of PDUs that begin here, before and after the node is a member of the DIF.
    std::uint16_t ttl_outside = rina::kTtlDefault, ttl = rina::kTtlDefault;
    std::map<std::string, std::uint32_t> hosts;  // IPv4 addresses of IPC processes
    std::uint16_t ephemeral_port = 0;            // that the kernel has for the shim's socket
};

// One of our nodes: the layer management and data transfer of an IPC process, the protection of its
// PDUs, and the shims below. Frames go in and come out. An application takes every flow that it is
// offered.
class Node {
  public:
    explicit Node(NodeConfig config);

    mgmt::Ipcp& ipcp() { return *ipcp_; }
    transfer::DataTransfer& data() { return data_; }
    Instant now() const { return now_; }

    // Layer management and shims; the timers of connections only on_transfer_timeout().
    void advance(Instant to);
    // To the first of them.
    void on_transfer_timeout();
    void receive(std::size_t lower, const Bytes& frame);
    // A PDU as if it had come from there.
    void receive_pdu(std::size_t lower, const Bytes& pdu);
    // Carries out what the last call to ipcp() wants done.
    void act();

    bool write(rina::CepId cep, View user_data);
    // Reads until all before `lwe` is read, or nothing is left.
    void read_to(rina::CepId cep, std::uint64_t lwe);
    // Lets go of the flow whose number at the peer this is.
    bool close(std::uint64_t peer_port);

    // What the node has sent, not yet looked at.
    std::deque<Bytes>& sent(std::size_t lower) { return belows_[lower]->sent; }
    unsigned delivered() const { return delivered_; }
    unsigned drops() const { return drops_; }

  private:
    struct Below {
        Lower lower;
        shim_eth::Outbox eth_out;
        std::unique_ptr<shim_eth::Shim> eth;
        shim_udp::Outbox udp_out;
        std::unique_ptr<shim_udp::Shim> udp;
        std::map<std::uint16_t, shim_udp::SocketId> sockets;  // by port
        std::uint32_t flow = 0;
        std::string peer;  // that we asked for
        std::optional<rmt::N1PortId> port;
        sdup::Protection protection;
        std::deque<Bytes> sent;
    };

    void act(mgmt::IpcpAction& action);
    void run_shims();
    void run_eth(Below& below);
    void run_udp(Below& below);
    void answer(Below& below, const shim_udp::Action& action);
    void allocate(Below& below, const std::string& peer);
    void flow_there(Below& below, std::uint32_t flow, bool asked);
    void release(rmt::N1PortId port);
    void take_sdu(Below& below, View sdu);
    void drain();
    void send(rmt::N1PortId port, Bytes pdu, bool relayed);
    void originate(rmt::N1PortId port, const rina::Pci& pci, View payload);
    Bytes framed(const Below& below, View sdu) const;
    PduToken keep(Bytes bytes);
    Bytes& at(PduToken token) { return buffers_[static_cast<std::size_t>(token) - 1]; }
    Below& below(rmt::N1PortId port) { return *belows_[port.value]; }

    NodeConfig config_;
    mgmt::IdPool ports_;
    std::unique_ptr<mgmt::Ipcp> ipcp_;
    transfer::DataTransfer data_;
    transfer::TransferOutbox out_;
    std::vector<std::unique_ptr<Below>> belows_;  // the N-1 port of each is its index
    std::deque<Bytes> buffers_;
    std::map<rina::CepId, PortId> flows_;
    std::map<PortId, std::uint32_t> unread_;
    Instant now_{};
    unsigned delivered_ = 0, drops_ = 0;
};

}  // namespace sluice::golden
