import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/** A load balancer before the gateways, whose connections the test can cut. */
export class Proxy {
  private readonly links = new Set<Socket>();
  isCut = false;
  /** As a network without WebSockets does. */
  refusesUpgrades = false;

  private constructor(
    private readonly server: Server,
    private readonly ports: readonly number[],
    private readonly random: () => number,
  ) {
    server.on('connection', (socket) => {
      this.accept(socket);
    });
  }

  static async listen(ports: readonly number[], random = Math.random): Promise<Proxy> {
    const server = createServer({ pauseOnConnect: true });
    const proxy = new Proxy(server, ports, random);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** All connections are gone at once, and new ones are refused until `mend`. */
  cut(): void {
    this.isCut = true;
    this.cutSome(1);
  }

  mend(): void {
    this.isCut = false;
  }

  /** Everything sent waits in the proxy until `resume`. */
  pause(): void {
    for (const link of this.links) link.pause();
  }

  resume(): void {
    for (const link of this.links) link.resume();
  }

  /** About this share of the connections are gone at once. */
  cutSome(share: number): void {
    for (const link of this.links) if (this.random() < share) link.destroy();
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private accept(socket: Socket): void {
    this.keep(socket);
    if (this.isCut) socket.destroy();
    else
      this.forward(
        socket,
        [...this.ports].sort(() => this.random() - 0.5),
      );
  }

  /** To the first of the gateways that takes connections. */
  private forward(socket: Socket, [port, ...others]: readonly number[]): void {
    if (port === undefined || socket.destroyed) {
      socket.destroy();
      return;
    }
    const gateway = connect(port, '127.0.0.1');
    const tryNext = (): void => {
      this.forward(socket, others);
    };
    gateway.once('error', tryNext);
    gateway.once('connect', () => {
      gateway.off('error', tryNext);
      this.keep(gateway);
      socket.once('close', () => gateway.destroy());
      gateway.once('close', () => socket.destroy());
      socket.on('data', (data: Buffer) => {
        if (this.refusesUpgrades && data.includes('Upgrade: websocket')) socket.destroy();
      });
      socket.pipe(gateway).pipe(socket);
    });
  }

  private keep(socket: Socket): void {
    this.links.add(socket);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => this.links.delete(socket));
  }
}
