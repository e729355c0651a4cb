import './styles/base.css';
import './styles/frame.css';
import './styles/board.css';
import './styles/panels.css';

import { createRoot } from 'react-dom/client';

import { App } from './app';

const root = document.getElementById('root');
if (root) createRoot(root).render(<App />);
