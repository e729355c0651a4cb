import { NextResponse, type NextRequest } from 'next/server';

/** The browser reaches the API at the page's own address. */
export function proxy({ nextUrl: { pathname, search } }: NextRequest): NextResponse {
  return NextResponse.rewrite(new URL(pathname + search, process.env.API_URL));
}

export const config = { matcher: '/api/:path*' };
