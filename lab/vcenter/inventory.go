package main

import (
	"context"
	"fmt"
	"os"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/esx"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"
)

// The inventory's names are the lab configuration's; the datacenter bears the site's own.
const (
	clusterName   = "compute"
	folderName    = "dcctl"
	networkName   = "dcctl"
	switchName    = "dcctl-switch"
	datastoreName = "datastore"
	templateName  = "debian-12"

	hostCount       = 3
	hostCores       = 8
	hostMemoryMB    = 16 * 1024
	hostReservedMB  = 1024 // what the hypervisor keeps for itself
	templateDiskKB  = 2 * 1024 * 1024
	templateDisk    = "disk-0"
	templateGuestID = types.VirtualMachineGuestOsIdentifierDebian11_64Guest
)

type builder struct {
	ctx     context.Context
	client  *vim25.Client
	folders *object.DatacenterFolders
	cluster *object.ClusterComputeResource
	hosts   []*object.HostSystem
}

// build fills an empty vCenter: a datacenter, a cluster with its hosts, a datastore, a network, the
// folder that dcctl works in, and the template.
func build(service *simulator.Service, m *mirror, place, datastore string) error {
	ctx := context.Background()
	client, err := vim25.NewClient(ctx, service)
	if err != nil {
		return err
	}
	dc, err := object.NewRootFolder(client).CreateDatacenter(ctx, place)
	if err != nil {
		return err
	}
	folders, err := dc.Folders(ctx)
	if err != nil {
		return err
	}
	b := &builder{ctx: ctx, client: client, folders: folders}
	steps := []func() error{
		func() error { return b.addCluster(place) },
		b.addNetwork,
		func() error { return b.addDatastore(datastore) },
		func() error { return b.addTemplate(m) },
		func() error { _, err := folders.VmFolder.CreateFolder(ctx, folderName); return err },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	// There is no installer and no snapshot in the lab. These two would also look for the simulator's
	// own type of virtual machine, and not find it.
	dcObject := simulator.Map.Get(dc.Reference()).(*simulator.Datacenter)
	dcObject.DisabledMethod = append(dcObject.DisabledMethod, "PowerOnMultiVMTask")
	return nil
}

func (b *builder) addCluster(place string) error {
	cluster, err := b.folders.HostFolder.CreateCluster(b.ctx, clusterName, types.ClusterConfigSpecEx{})
	if err != nil {
		return err
	}
	b.cluster = cluster
	for i := 1; i <= hostCount; i++ {
		spec := types.HostConnectSpec{HostName: fmt.Sprintf("%s-hv-%d", place, i)}
		task, err := cluster.AddHost(b.ctx, spec, true, nil, nil)
		if err != nil {
			return err
		}
		info, err := task.WaitForResult(b.ctx, nil)
		if err != nil {
			return err
		}
		host := object.NewHostSystem(b.client, info.Result.(types.ManagedObjectReference))
		setCapacity(simulator.Map.Get(host.Reference()).(*simulator.HostSystem))
		b.hosts = append(b.hosts, host)
	}
	// High availability is on, as in production, so that a fence has to deal with it. The simulator
	// ignores what CreateCluster was given.
	o := simulator.Map.Get(cluster.Reference()).(*simulator.ClusterComputeResource)
	o.ConfigurationEx.(*types.ClusterConfigInfoEx).DasConfig = types.ClusterDasConfigInfo{
		Enabled: types.NewBool(true),
		DefaultVmSettings: &types.ClusterDasVmSettings{
			RestartPriority: string(types.DasVmPriorityMedium),
		},
	}
	return nil
}

func setCapacity(host *simulator.HostSystem) {
	memory := int64(hostMemoryMB) * 1024 * 1024
	host.Summary.Hardware.NumCpuCores = hostCores
	host.Summary.Hardware.NumCpuThreads = 2 * hostCores
	host.Summary.Hardware.MemorySize = memory
	host.Hardware.MemorySize = memory
	host.Hardware.CpuInfo.NumCpuCores = hostCores
	host.Hardware.CpuInfo.NumCpuThreads = 2 * hostCores
	host.Config.AutoStart.Defaults.Enabled = types.NewBool(false)
	host.SystemResources = &types.HostSystemResourceInfo{
		Key: "host/system",
		Config: &types.ResourceConfigSpec{
			CpuAllocation:    types.ResourceAllocationInfo{Reservation: types.NewInt64(0)},
			MemoryAllocation: types.ResourceAllocationInfo{Reservation: types.NewInt64(hostReservedMB)},
		},
	}
}

func (b *builder) addNetwork() error {
	spec := types.DVSCreateSpec{
		ConfigSpec: &types.VMwareDVSConfigSpec{DVSConfigSpec: types.DVSConfigSpec{Name: switchName}},
	}
	task, err := b.folders.NetworkFolder.CreateDVS(b.ctx, spec)
	if err != nil {
		return err
	}
	info, err := task.WaitForResult(b.ctx, nil)
	if err != nil {
		return err
	}
	dvs := object.NewDistributedVirtualSwitch(b.client, info.Result.(types.ManagedObjectReference))
	members := &types.DVSConfigSpec{}
	for _, host := range b.hosts {
		members.Host = append(members.Host, types.DistributedVirtualSwitchHostMemberConfigSpec{
			Operation: string(types.ConfigSpecOperationAdd),
			Host:      host.Reference(),
		})
	}
	if task, err = dvs.Reconfigure(b.ctx, members); err != nil {
		return err
	}
	if err = task.Wait(b.ctx); err != nil {
		return err
	}
	if task, err = dvs.AddPortgroup(b.ctx, []types.DVPortgroupConfigSpec{{Name: networkName}}); err != nil {
		return err
	}
	return task.Wait(b.ctx)
}

func (b *builder) addDatastore(directory string) error {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return err
	}
	for _, host := range b.hosts {
		system, err := host.ConfigManager().DatastoreSystem(b.ctx)
		if err != nil {
			return err
		}
		if _, err := system.CreateLocalDatastore(b.ctx, datastoreName, directory); err != nil {
			return err
		}
	}
	return nil
}

// addTemplate makes a virtual machine with one disk and one network card and marks it as a template.
func (b *builder) addTemplate(m *mirror) error {
	config := types.VirtualMachineConfigSpec{
		Name:    templateName,
		GuestId: string(templateGuestID),
		Files:   &types.VirtualMachineFileInfo{VmPathName: fmt.Sprintf("[%s]", datastoreName)},
	}
	var devices object.VirtualDeviceList
	scsi, err := devices.CreateSCSIController("pvscsi")
	if err != nil {
		return err
	}
	path := fmt.Sprintf("[%s] %s/%s.vmdk", datastoreName, templateName, templateDisk)
	disk := devices.CreateDisk(scsi.(types.BaseVirtualController), types.ManagedObjectReference{}, path)
	disk.CapacityInKB = templateDiskKB
	nic := esx.EthernetCard // on "VM Network", as templates are: whoever clones it chooses the network
	devices = append(devices, scsi, disk, &nic)
	config.DeviceChange, err = devices.ConfigSpec(types.VirtualDeviceConfigSpecOperationAdd)
	if err != nil {
		return err
	}
	pool, err := b.cluster.ResourcePool(b.ctx)
	if err != nil {
		return err
	}
	task, err := b.folders.VmFolder.CreateVM(b.ctx, config, pool, b.hosts[0])
	if err != nil {
		return err
	}
	info, err := task.WaitForResult(b.ctx, nil)
	if err != nil {
		return err
	}
	template := m.adopt(info.Result.(types.ManagedObjectReference), templateName)
	return object.NewVirtualMachine(b.client, template.Self).MarkAsTemplate(b.ctx)
}
