package main

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

// specification is what a guest would find when it boots: its customization, and the guestinfo that
// cloud-init's VMware data source reads (docs.cloud-init.io, data sources, VMware).
func (vm *machine) specification() (specification, error) {
	s := specification{
		ID:       vm.id(),
		Name:     vm.Name,
		Hostname: vm.Name,
		Place:    vm.mirror.place,
		VCPUs:    vm.Config.Hardware.NumCPU,
		MemoryMB: vm.Config.Hardware.MemoryMB,
		Image:    vm.image,
	}
	if err := s.customize(vm.customization); err != nil {
		return s, err
	}
	userData, err := guestinfo(vm.Config.ExtraConfig, "guestinfo.userdata")
	if err != nil {
		return s, err
	}
	s.UserData = string(userData)
	metadata, err := guestinfo(vm.Config.ExtraConfig, "guestinfo.metadata")
	if err != nil {
		return s, err
	}
	return s, s.read(metadata)
}

// customize takes the host name and the address. A lab machine has no DHCP to ask.
func (s *specification) customize(c *types.CustomizationSpec) error {
	if c == nil || len(c.NicSettingMap) == 0 {
		return fmt.Errorf("%s has no address: customize it with a fixed one before it is powered on", s.Name)
	}
	if prep, ok := c.Identity.(*types.CustomizationLinuxPrep); ok {
		if fixed, ok := prep.HostName.(*types.CustomizationFixedName); ok {
			s.Hostname = fixed.Name
		}
	}
	adapter := c.NicSettingMap[0].Adapter
	fixed, ok := adapter.Ip.(*types.CustomizationFixedIp)
	mask := net.IPMask(net.ParseIP(adapter.SubnetMask).To4())
	prefix, bits := mask.Size()
	if !ok || net.ParseIP(fixed.IpAddress) == nil || bits == 0 {
		return fmt.Errorf("%s: its customization gives no fixed address with a subnet mask", s.Name)
	}
	s.Address = fmt.Sprintf("%s/%d", fixed.IpAddress, prefix)
	if len(adapter.Gateway) > 0 {
		s.Gateway = adapter.Gateway[0]
	}
	return nil
}

// read takes the SSH keys from cloud-init's metadata, when that is JSON.
func (s *specification) read(metadata []byte) error {
	if len(metadata) == 0 {
		return nil
	}
	var document struct {
		PublicKeys string `json:"public-keys-data"`
	}
	if err := json.Unmarshal(metadata, &document); err != nil {
		return fmt.Errorf("%s: guestinfo.metadata is not JSON: %w", s.Name, err)
	}
	for _, key := range strings.Split(document.PublicKeys, "\n") {
		if key = strings.TrimSpace(key); key != "" {
			s.AuthorizedKeys = append(s.AuthorizedKeys, key)
		}
	}
	return nil
}

// guestinfo reads a key in the encoding that its companion names.
func guestinfo(config []types.BaseOptionValue, key string) ([]byte, error) {
	value := option(config, key)
	encoding := option(config, key+".encoding")
	switch encoding {
	case "":
		return []byte(value), nil
	case "base64", "b64", "gzip+base64", "gz+b64":
	default:
		return nil, fmt.Errorf("%s: unknown encoding %q", key, encoding)
	}
	decoded, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	if !strings.HasPrefix(encoding, "gz") {
		return decoded, nil
	}
	reader, err := gzip.NewReader(bytes.NewReader(decoded))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return io.ReadAll(reader)
}

func option(config []types.BaseOptionValue, key string) string {
	for _, o := range config {
		if v := o.GetOptionValue(); v.Key == key {
			return fmt.Sprint(v.Value)
		}
	}
	return ""
}

// newest keeps the last value of every key, in the order of their first; an empty one removes the key.
func newest(config []types.BaseOptionValue) []types.BaseOptionValue {
	last := make(map[string]types.BaseOptionValue, len(config))
	for _, o := range config {
		last[o.GetOptionValue().Key] = o
	}
	var kept []types.BaseOptionValue
	for _, o := range config {
		key := o.GetOptionValue().Key
		if v, ok := last[key]; ok && fmt.Sprint(v.GetOptionValue().Value) != "" {
			kept = append(kept, v)
		}
		delete(last, key)
	}
	return kept
}

// copyDevices copies by way of XML, as a real vCenter's clients and servers do, and lets network cards
// get addresses of their own.
func copyDevices(devices []types.BaseVirtualDevice) ([]types.BaseVirtualDevice, error) {
	document, err := xml.Marshal(types.VirtualHardware{Device: devices})
	if err != nil {
		return nil, err
	}
	var copied types.VirtualHardware
	decoder := xml.NewDecoder(bytes.NewReader(document))
	decoder.TypeFunc = types.TypeFunc()
	if err := decoder.Decode(&copied); err != nil {
		return nil, err
	}
	for _, device := range copied.Device {
		if card, ok := device.(types.BaseVirtualEthernetCard); ok {
			card.GetVirtualEthernetCard().MacAddress = ""
		}
	}
	return copied.Device, nil
}
